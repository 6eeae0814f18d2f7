package cli

import (
	"os"

	"gleitzeit/providers"
)

// filtersCmd runs filters for the provider data, in a process of their own.
type filtersCmd struct {
	Memory int64 `arg:"" help:"How many bytes it may use."`
}

// Run answers until its standard input ends.
func (c *filtersCmd) Run(*session) error {
	return providers.ServeFilters(os.Stdin, os.Stdout, c.Memory)
}
