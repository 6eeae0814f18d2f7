package providers

import "os"

// nursery is not possible here: no process can fork.
type nursery struct{}

func newNursery(*children) *nursery { return nil }

func (*nursery) fork(string, []string, ...*os.File) (*child, error) { panic("nothing is warm here") }

func (*nursery) close() {}
