package cli

import "testing"

// Whoever approves has a name, also where no variable says it.
func TestUser(t *testing.T) {
	variables := map[string]string{}
	env := &environment{lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok }}
	if env.user() == "" {
		t.Error("nobody")
	}
	variables["LOGNAME"] = "anna"
	if who := env.user(); who != "anna" {
		t.Errorf("%q", who)
	}
}
