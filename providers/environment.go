package providers

import "slices"

// This file makes the environment of children: nothing of ours reaches them
// but what is named here, in the configuration or in the task.

// baseVariables are handed to every child: where programs, home, time zone
// and temporary files are, and which language to speak; on Windows also what
// no program starts without.
var baseVariables = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
	"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP",
	"USERPROFILE", "USERNAME", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES",
}

// environment is the base, the variables passed on by name, and then the
// sets in order, each beating those before it; sorted. A variable that is
// empty or absent in our environment is not passed on.
func environment(env func(string) string, pass []string, sets ...map[string]string) []string {
	all := map[string]string{}
	for _, name := range slices.Concat(baseVariables, pass) {
		if value := env(name); value != "" {
			all[name] = value
		}
	}
	for _, set := range sets {
		for name, value := range set {
			all[name] = value
		}
	}
	list := make([]string, 0, len(all))
	for name, value := range all {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
