package cli

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// environment is all that the command takes from the process around it. This
// file is the one reader of it.
type environment struct {
	lookup func(name string) (string, bool)
	cwd    string
	stdin  io.Reader
	stdout *os.File
	stderr *os.File
}

// readEnvironment takes what is there. Without a working folder relative
// paths stay as they are.
func readEnvironment() *environment {
	cwd, _ := os.Getwd()
	return &environment{lookup: os.LookupEnv, cwd: cwd, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
}

// get returns a variable, "" if it isn't set.
func (e *environment) get(name string) string {
	value, _ := e.lookup(name)
	return value
}

// isTerminal tells whether somebody reads f as it is written.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// colours tells whether what goes to f may have colours.
func (e *environment) colours(f *os.File) bool {
	return e.get("NO_COLOR") == "" && e.get("TERM") != "dumb" && isTerminal(f)
}

// screenWidth returns the width of the terminal behind f, 80 if there is none.
func screenWidth(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// screenHeight returns the height of the terminal behind f, 24 if there is none.
func screenHeight(f *os.File) int {
	if _, h, err := term.GetSize(int(f.Fd())); err == nil && h > 0 {
		return h
	}
	return 24
}

// user says who gives the command, for the history. It is never empty.
func (e *environment) user() string {
	for _, name := range []string{"USER", "LOGNAME", "USERNAME"} {
		if said := e.get(name); said != "" {
			return said
		}
	}
	if known, err := user.Current(); err == nil && known.Username != "" {
		return known.Username
	}
	return fmt.Sprintf("user %d", os.Getuid())
}

// home returns the user's folder, "" if it isn't known.
func (e *environment) home() string {
	if runtime.GOOS == "windows" {
		return e.get("USERPROFILE")
	}
	return e.get("HOME")
}

// expand makes a path that a person wrote absolute: "~/" is the home folder,
// anything relative lies below base.
func (e *environment) expand(path, base string) string {
	if path == "" {
		return ""
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok && e.home() != "" {
		return filepath.Join(e.home(), rest)
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// stateFolder is where the store lies unless told otherwise.
func (e *environment) stateFolder() string {
	switch runtime.GOOS {
	case "windows":
		return e.below("LOCALAPPDATA", "AppData", "Local")
	case "darwin":
		return e.below("XDG_STATE_HOME", "Library", "Application Support")
	}
	return e.below("XDG_STATE_HOME", ".local", "state")
}

// configFolder is where the user's own configuration lies.
func (e *environment) configFolder() string {
	switch runtime.GOOS {
	case "windows":
		return e.below("APPDATA", "AppData", "Roaming")
	case "darwin":
		return e.below("XDG_CONFIG_HOME", "Library", "Application Support")
	}
	return e.below("XDG_CONFIG_HOME", ".config")
}

// below returns our folder in the one that a variable names, or else in one
// of the home folder; "" if neither is known.
func (e *environment) below(variable string, inHome ...string) string {
	base := e.get(variable)
	if !filepath.IsAbs(base) {
		if e.home() == "" {
			return ""
		}
		base = filepath.Join(append([]string{e.home()}, inHome...)...)
	}
	return filepath.Join(base, "gleitzeit")
}
