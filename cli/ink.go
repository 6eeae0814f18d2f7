package cli

// ink colours text, if it is true. Only the sixteen colours of every terminal
// are used, so that the user's own palette decides how they look.
type ink bool

func (i ink) paint(code, s string) string {
	if !i || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (i ink) bold(s string) string   { return i.paint("1", s) }
func (i ink) faint(s string) string  { return i.paint("2", s) }
func (i ink) red(s string) string    { return i.paint("31", s) }
func (i ink) green(s string) string  { return i.paint("32", s) }
func (i ink) yellow(s string) string { return i.paint("33", s) }
func (i ink) blue(s string) string   { return i.paint("34", s) }

// status colours the status of a run or a task.
func (i ink) status(s string) string {
	switch s {
	case "completed":
		return i.green(s)
	case "failed", "timed_out":
		return i.red(s)
	case "running", "evaluating", "expanded":
		return i.blue(s)
	case "cancelled", "waiting", "paused", "parked", "retrying", "in_doubt":
		return i.yellow(s)
	}
	return i.faint(s)
}
