package replay

import (
	"fmt"
	"slices"
	"strings"
)

// This file says in words which secrets are missing. Only where they are is
// ever known here, never what they are.

// secrets names secrets by their references.
func secrets(references []string) string {
	if len(references) == 1 {
		return "the secret " + references[0]
	}
	return "the secrets " + strings.Join(references, ", ")
}

// missingSecrets says which secrets the tasks of the run wait for, and how to
// go on.
func (r *Run) missingSecrets() string {
	var missing []string
	for i := range r.Tasks {
		if t := &r.Tasks[i]; t.Status == TaskWaits && t.Wait.Kind == WaitSecret {
			missing = append(missing, t.Wait.Secrets...)
		}
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	return fmt.Sprintf("%s, not at hand; with %s: gleitzeit resume %s", secrets(missing), provide(missing), r.ID())
}

// provide says how secrets get to where they are looked for.
func provide(references []string) string {
	var variables []string
	for _, ref := range references {
		if name, is := strings.CutPrefix(ref, "env:"); is {
			variables = append(variables, name)
		}
	}
	files := len(references) - len(variables)
	switch set := strings.Join(variables, ", ") + " set"; {
	case files == 0:
		return set
	case files == len(references):
		return "the file in its place"
	default:
		return set + " and the files in their places"
	}
}
