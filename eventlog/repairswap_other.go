//go:build !linux

package eventlog

// changePlaces puts the folder made where old is, and old where aside says.
func changePlaces(made, old, aside string) error { return renameBoth(made, old, aside) }
