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
	note(w.Schedule != nil, "schedule", "")
	note(len(w.Secrets) > 0 || len(w.SecretRefs) > 0, "secrets", "")
	for _, in := range w.Inputs {
		note(in.Secret, "secret", "")
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
