package scheduler

import (
	"maps"
	"os"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// environment is the task's own environment: the workflow's, then the task's.
func environment(w *protocols.Workflow, t *protocols.Task) map[string]string {
	if len(w.Env) == 0 && len(t.Env) == 0 {
		return nil
	}
	env := maps.Clone(w.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, t.Env)
	return env
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
