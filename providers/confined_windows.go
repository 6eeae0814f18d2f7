package providers

import "os"

// launches: there is no sandbox here.
const launches = false

func ownProgram() (string, error) { return os.Executable() }
