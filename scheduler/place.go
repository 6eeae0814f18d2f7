package scheduler

import (
	"os"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// environment is the task's own environment: the workflow's, then the task's,
// with secrets.
func (s *Scheduler) environment(j job, c replay.Context, secrets opened) (map[string]string, error) {
	w, t := j.plan.Workflow, j.plan.Task(j.def)
	if len(w.Env)+len(t.Env)+len(w.SecretEnv)+len(t.SecretEnv) == 0 {
		return nil, nil
	}
	scope := &protocols.Scope{Workflow: w, Inputs: c.Inputs, Env: c.Env, Secrets: secrets.values}
	env, failed := protocols.Environment(w, j.def, scope)
	if failed != nil {
		return nil, failed
	}
	return env, nil
}

// existing returns the folder if it exists on this machine, else "".
func existing(dir string) string {
	if dir == "" {
		return ""
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return ""
	}
	return dir
}

// roots are the folders below which files computed during the run may lie.
func roots(c replay.Context) []string {
	var roots []string
	for _, r := range append([]string{c.Dir, c.Cwd}, c.Roots...) {
		if r != "" {
			roots = append(roots, r)
		}
	}
	return roots
}
