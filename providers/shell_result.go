package providers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gleitzeit/protocols"
	"gleitzeit/providers/launcher"
)

// This file makes a result, or an error, of what a program left.

// shellRun is what is left of a program that has ended.
type shellRun struct {
	stdout, stderr excerpt
	seconds        float64
	exit           string
	code           int
	crowded        bool              // it was ended for that
	refused        *launcher.Failure // why it never began
}

// judge turns what is left into the call's result or error.
func (r *shellRun) judge(job *shellJob) (json.RawMessage, error) {
	box, program := job.box, job.program
	switch {
	case r.refused != nil && r.refused.Program:
		return nil, protocols.Errorf(protocols.TaskParameterError, "%s can't be run: %s%s", program, r.refused.Text, unreadable(r.refused.Text))
	case r.refused != nil:
		return nil, protocols.Errorf(protocols.ProviderInitializationFailed, "%s", refusal(r.refused.Text))
	case r.crowded:
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "it %s", box.tooMany()))
	case box != nil && r.endedBy("SIGXCPU", 24):
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "it %s", box.tooLong()))
	case box != nil && r.endedBy("SIGXFSZ", 25):
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "it wrote a file of more than %s: the sandbox's `file_size`",
			sizeText(box.Limits.FileSize)))
	case r.code < 0:
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "it was %s", r.exit))
	case !slices.Contains(job.params.OK, r.code):
		return nil, r.failure(protocols.Errorf(classCodes[job.params.exitClass(r.code)], "it %s%s", r.exit, r.hint(box)))
	}
	return r.result(job.params.Parse)
}

// endedBy tells whether a signal ended the program, or one that its shell ran.
func (r *shellRun) endedBy(name string, number int) bool {
	return strings.Contains(r.exit, name) || r.code == 128+number
}

// refusal says that nothing ran.
func refusal(why string) string {
	return fmt.Sprintf("the sandbox could not be set up, so nothing ran: %s (`sandbox: {enabled: false}` of the provider does without)", why)
}

// unreadable says what to try when a program can't be executed.
func unreadable(why string) string {
	if !strings.Contains(why, "permission denied") {
		return ""
	}
	return ": what it needs to run may lie outside of the sandbox; name its folder in `read` of the provider's sandbox"
}

var denied = regexp.MustCompile(`(?i)permission denied|operation not permitted`)

// hint is the end of what it said, and whether the sandbox may be why.
func (r *shellRun) hint(box *sandbox) (text string) {
	said := strings.TrimSpace(r.stderr.String())
	if said != "" {
		text = ": " + lastBytes(said[strings.LastIndexByte(said, '\n')+1:], 300)
	}
	if box != nil && denied.MatchString(said) {
		text += " (if it was the sandbox: `write` and `network` of the task, `read` of the provider's sandbox)"
	}
	return text
}

// result is {result, exit_code, stdout, stdout_missing?, stderr?, ...}.
func (r *shellRun) result(parse string) (json.RawMessage, error) {
	value, note, err := r.parsed(parse)
	if err != nil {
		return nil, r.failure(protocols.Errorf(protocols.TaskResultInvalid, "%v", err))
	}
	shown := excerpt{First: shellStdout / 2, Last: shellStdout / 2}
	missing := r.stdout.Missing()
	text := r.stdout.String()
	if parse != "text" {
		_, _ = shown.Write([]byte(text))
		text, missing = shown.String(), shown.Missing()
	}
	return encode(struct {
		Result        any     `json:"result"`
		ExitCode      int     `json:"exit_code"`
		Stdout        string  `json:"stdout"`
		StdoutMissing int64   `json:"stdout_missing,omitempty"`
		Stderr        string  `json:"stderr,omitempty"`
		StderrMissing int64   `json:"stderr_missing,omitempty"`
		ExecutionTime float64 `json:"execution_time"` // seconds
		Note          string  `json:"note,omitempty"`
	}{value, r.code, text, missing, r.stderr.String(), r.stderr.Missing(), r.seconds, note})
}

// parsed is what stdout says.
func (r *shellRun) parsed(parse string) (value any, note string, err error) {
	text, missing := r.stdout.String(), r.stdout.Missing()
	switch {
	case missing > 0 && parse == "text":
		return nil, fmt.Sprintf("stdout is longer than the %s that are kept; write it to a file", sizeText(shellStdout)), nil
	case missing > 0:
		return nil, "", fmt.Errorf("stdout is longer than %s; write it to a file", sizeText(shellResult))
	case parse == "text":
		return strings.TrimRight(text, "\r\n"), "", nil
	}
	lines := linesOf(text)
	switch parse {
	case "lines":
		return lines, "", nil
	case "jsonl":
		values := []json.RawMessage{}
		for i, line := range lines {
			if strings.TrimSpace(line) == "" {
				continue
			}
			value, err := oneJSON(line)
			if err != nil {
				return nil, "", fmt.Errorf("line %d of stdout is not JSON: %v", i+1, err)
			}
			values = append(values, value)
		}
		return values, "", nil
	}
	one, err := oneJSON(text)
	if err != nil {
		return nil, "", fmt.Errorf("stdout is not JSON: %v", err)
	}
	return one, "", nil
}

// linesOf are the lines of a text; what stands behind the last line feed is one
// if it isn't empty.
func linesOf(text string) []string {
	lines := []string{}
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	}
	return lines
}

func oneJSON(text string) (json.RawMessage, error) {
	raw := bytes.TrimSpace([]byte(text))
	if len(raw) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, fmt.Errorf("%v: %s", err, lastBytes(firstRunes(text, 80), 200))
	}
	return compact.Bytes(), nil
}

func firstRunes(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n]) + "…"
}

// failure adds to e what is known of the run.
func (r *shellRun) failure(e *protocols.Error) *protocols.Error {
	return e.With(struct {
		Stdout   string `json:"stdout,omitempty"`
		Stderr   string `json:"stderr,omitempty"`
		ExitCode int    `json:"exit_code"`
		Exit     string `json:"exit"`
	}{lastBytes(r.stdout.String(), pythonInFailure), lastBytes(r.stderr.String(), pythonInFailure), r.code, r.exit})
}
