package scheduler

import (
	"fmt"

	"gleitzeit/protocols"
)

// Unsupported is a key that the language has and the scheduler can't carry out
// yet: a run with it is refused, it is never ignored.
type Unsupported struct {
	Key  string
	Task string // "" when it is the workflow's
}

// String says so in words.
func (u Unsupported) String() string {
	if u.Task == "" {
		return u.Key + " is not supported yet"
	}
	return fmt.Sprintf("task %q: %s is not supported yet", u.Task, u.Key)
}

// Missing returns what of the workflow can't be carried out yet.
func Missing(w *protocols.Workflow) (missing []Unsupported) {
	note := func(there bool, key, task string) {
		if there {
			missing = append(missing, Unsupported{key, task})
		}
	}
	note(w.Budget != nil, "budget", "")
	note(w.Limits != nil, "limits", "")
	for _, t := range w.Tasks {
		note(t.Budget != nil, "budget", t.ID)
		note(t.Limits != nil, "limits", t.ID)
	}
	return missing
}

// supported refuses a workflow that can't be carried out.
func supported(w *protocols.Workflow) error {
	if missing := Missing(w); len(missing) > 0 {
		return protocols.Errorf(protocols.WorkflowValidationFailed, "%s", missing[0])
	}
	return nil
}
