// Package launcher becomes a program that is locked in. A process of ours is
// started anew with Arguments; before anything else of it runs it takes on what
// its Box says and becomes the program, by exec, with its environment, its
// folder and its standard files:
//
//	us ── start ──► our own program ── limits, Landlock, seccomp, exec ──► the program
//
// What fails is told on the back pipe, which closes when the program begins:
// nothing comes out of it then. Nothing runs without the whole Box.
//
// It is done in init, and the package imports next to nothing (not even os), so
// that its turn comes before that of nearly all others, whose beginnings take
// longer than the whole launch.
package launcher

import (
	"errors"
	"strconv"
	"syscall"
)

// Box is what a process takes on, on Unix: the one description of a sandbox, which
// python_sandbox.py gets as JSON.
type Box struct {
	Limits map[string]int64 `json:"limits"` // by the names of RLIMIT_, each lowered
	Nice   int              `json:"nice"`   // more than it was

	// The rest is for Linux.

	// Landlock is the access to files with which a process that isn't a program
	// of the system's adds its own libraries to the rules; 0: the kernel has no
	// Landlock, and no rules are handed down.
	Landlock uint64 `json:"landlock"`
	Filter   []byte `json:"filter"` // a BPF program; empty: none
	// Listen: the filter asks somebody, whose descriptor goes over a socket that
	// is handed down behind the rules.
	Listen bool `json:"listen"`
	// Seccomp is the number of the system call, which differs.
	Seccomp int `json:"seccomp"`
}

// command is what makes a process a launcher: its first argument.
const command = "__launch"

// Failed is what a launcher exits with that did not become the program.
const Failed = 125

// Arguments are those of a process of ours that is to become the program at
// path, with args behind its name. back is the number of the pipe that it tells
// of failures on; files are the first number of what box says is handed down.
func Arguments(box Box, back string, files int, path string, args []string) []string {
	return append([]string{command, back, strconv.Itoa(files), box.words(), strconv.QuoteToASCII(string(box.Filter)), path}, args...)
}

// words are the box but for its filter: nice, landlock, listen and seccomp, and
// then the limits, name and number by turns, each with a comma behind. Reading
// JSON would have us wait until half of our packages have begun.
func (b Box) words() string {
	text := strconv.Itoa(b.Nice) + "," + strconv.FormatUint(b.Landlock, 10) + "," + strconv.FormatBool(b.Listen) + "," + strconv.Itoa(b.Seccomp) + ","
	for name, most := range b.Limits {
		text += name + "," + strconv.FormatInt(most, 10) + ","
	}
	return text
}

// boxOf reads what words wrote, and the filter.
func boxOf(text, filter string) (b Box, err error) {
	words := split(text, ',')
	if len(words) < 4 || len(words)%2 != 0 {
		return b, errors.New("a sandbox that can't be read")
	}
	var wrong [5]error
	b.Nice, wrong[0] = strconv.Atoi(words[0])
	b.Landlock, wrong[1] = strconv.ParseUint(words[1], 10, 64)
	b.Listen, wrong[2] = strconv.ParseBool(words[2])
	b.Seccomp, wrong[3] = strconv.Atoi(words[3])
	filter, wrong[4] = strconv.Unquote(filter)
	b.Filter = []byte(filter)
	err = errors.Join(wrong[:]...)
	b.Limits = map[string]int64{}
	for i := 4; i < len(words) && err == nil; i += 2 {
		b.Limits[words[i]], err = strconv.ParseInt(words[i+1], 10, 64)
	}
	return b, err
}

// split cuts a text behind each end, and drops what follows the last.
func split(text string, end byte) (words []string) {
	from := 0
	for i := range len(text) {
		if text[i] == end {
			words = append(words, text[from:i])
			from = i + 1
		}
	}
	return words
}

func init() {
	if args := arguments(); len(args) > 6 && args[1] == command {
		syscall.Exit(launch(args[2:]))
	}
}

// launch returns only if it fails.
func launch(args []string) int {
	back, _ := strconv.Atoi(args[0])
	files, _ := strconv.Atoi(args[1])
	box, err := boxOf(args[2], args[3])
	if err != nil {
		return tell(back, Failure{Text: err.Error()})
	}
	return tell(back, become(back, files, box, args[4], args[4:]))
}

// Failure is why a process did not become the program.
type Failure struct {
	Program bool // it is the program that can't be run; else the box couldn't be taken on
	Text    string
}

// Failures begin with one of these.
const (
	tellsProgram = "program: "
	tellsBox     = "box: "
)

func tell(back int, why Failure) int {
	text := tellsBox + why.Text
	if why.Program {
		text = tellsProgram + why.Text
	}
	say(back, text)
	return Failed
}

// Heard is what the back pipe told, to its end: nil if the program has begun.
func Heard(said string) *Failure {
	for _, begins := range []string{tellsProgram, tellsBox} {
		if len(said) >= len(begins) && said[:len(begins)] == begins {
			return &Failure{Program: begins == tellsProgram, Text: said[len(begins):]}
		}
	}
	return nil
}
