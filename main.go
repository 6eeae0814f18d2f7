// Gleitzeit runs workflows of language models, Python and tools, and lives
// through crashes. See README.md.
package main

import (
	"os"

	"gleitzeit/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
