package providers

import (
	"slices"
	"strconv"
)

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

// variables tell a program which call it is. The key is for servers that do what
// was asked for once under one key.
func (c Call) variables() map[string]string {
	return map[string]string{
		"GLEITZEIT_RUN": c.Run, "GLEITZEIT_TASK": c.Task, "GLEITZEIT_ATTEMPT": strconv.Itoa(c.Attempt), "GLEITZEIT_KEY": c.Key,
	}
}

// temporary has a program put its temporary files into a folder.
func temporary(folder string) map[string]string {
	return map[string]string{"TMPDIR": folder, "TEMP": folder, "TMP": folder}
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
