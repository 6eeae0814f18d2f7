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
// It is done in init, and the package imports little of the standard library
// (neither fmt nor encoding), so that its turn comes before that of most others,
// whose beginnings take longer than the whole launch.
package launcher

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
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
// then the limits, name and number by turns, with commas between. Reading JSON
// would have us wait until half of our packages have begun.
func (b Box) words() string {
	words := []string{strconv.Itoa(b.Nice), strconv.FormatUint(b.Landlock, 10), strconv.FormatBool(b.Listen), strconv.Itoa(b.Seccomp)}
	for name, most := range b.Limits {
		words = append(words, name, strconv.FormatInt(most, 10))
	}
	return strings.Join(words, ",")
}

// boxOf reads what words wrote, and the filter.
func boxOf(text, filter string) (b Box, err error) {
	words := strings.Split(text, ",")
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

func init() {
	if len(os.Args) > 6 && os.Args[1] == command {
		os.Exit(launch(os.Args[2:]))
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
	_, _ = io.WriteString(os.NewFile(uintptr(back), "back"), text)
	return Failed
}

// Heard reads the back pipe to its end: nil if the program has begun.
func Heard(back io.Reader) *Failure {
	said, _ := io.ReadAll(io.LimitReader(back, 1<<16))
	if text, is := strings.CutPrefix(string(said), tellsProgram); is {
		return &Failure{Program: true, Text: text}
	}
	if text, is := strings.CutPrefix(string(said), tellsBox); is {
		return &Failure{Text: text}
	}
	return nil
}
