package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/scheduler"
)

// scheduleCmd is about runs that begin by themselves.
type scheduleCmd struct {
	Add     scheduleAddCmd     `cmd:"" help:"Let runs of a workflow begin by themselves."`
	List    scheduleListCmd    `cmd:"" help:"List schedules, with their next times and last runs."`
	Show    scheduleShowCmd    `cmd:"" help:"Show a schedule and what happened to it."`
	Next    scheduleNextCmd    `cmd:"" help:"Show the coming times of a schedule."`
	Pause   schedulePauseCmd   `cmd:"" help:"Let no time of schedules count until they are unpaused."`
	Unpause scheduleUnpauseCmd `cmd:"" help:"Let the times of paused schedules count again."`
	Remove  scheduleRemoveCmd  `cmd:"" help:"Remove schedules; their runs go on."`
}

// scheduleAddCmd adds a schedule.
type scheduleAddCmd struct {
	File       string   `arg:"" help:"The workflow file, YAML or JSON; - is standard input."`
	Name       given    `placeholder:"NAME" help:"The schedule's name (default: made of the workflow's)."`
	Cron       given    `placeholder:"TEXT" help:"When: minute, hour, day, month, weekday; or @daily, @every 15m and the like."`
	Timezone   given    `placeholder:"ZONE" help:"Whose clock it goes by, such as Europe/Berlin (default: this machine's)."`
	Overlap    string   `enum:"skip,queue,allow," default:"" placeholder:"POLICY" help:"What a time does that comes while the last run lives: skip, queue or allow."`
	CatchUp    *bool    `negatable:"" help:"Make up for the times that pass while no server runs, with one run."`
	Input      []string `short:"i" sep:"none" placeholder:"NAME=VALUE" help:"A value for one of the workflow's inputs."`
	InputsJSON string   `name:"inputs-json" placeholder:"FILE" help:"A file with a JSON object of inputs; - is standard input."`
	Priority   string   `enum:"low,normal,high,urgent" default:"normal" help:"Which of several runs goes first: low, normal, high or urgent."`
}

// Help shows how it is used.
func (scheduleAddCmd) Help() string {
	return `When is what the file's key schedule says; flags go before it. The runs begin while
a server runs: gleitzeit server start. File, inputs, configuration and the variables
that the file names are kept as they are now: to change them, remove and add again.

Examples:

	gleitzeit schedule add report.yaml
	gleitzeit schedule add report.yaml --cron "30 6 * * mon-fri" --timezone Europe/Berlin
	gleitzeit schedule add poll.yaml --cron "@every 10m" --overlap queue -i topic=whales`
}

// Run does it.
func (a *scheduleAddCmd) Run(s *session) error {
	run, c, err := s.submission(a.File, wishes{inputs: a.Input, inputsJSON: a.InputsJSON, priority: a.Priority})
	if err != nil {
		return err
	}
	p := server.ScheduleAddParams{Name: string(a.Name), Run: *run, By: s.env.user()}
	if p.Schedule, err = a.schedule(s, a.document(run)); err != nil {
		return usage(err)
	}
	ctx, stop := interruptible()
	defer stop()
	return s.use(ctx, c, works, func(store *client.Client) error {
		var v server.ScheduleView
		if err := store.Call(ctx, server.ScheduleAdd, p, &v); err != nil {
			return err
		}
		var hello server.HelloResult
		if err := store.Call(ctx, server.SystemHello, server.HelloParams{}, &hello); err != nil {
			return err
		}
		if !hello.Server {
			s.print.say("No server runs. The schedule fires while there is one: gleitzeit%s server start", s.storeFlag())
		}
		return s.print.show(v, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %s in %s, next %s\n", v.Name, v.Cron, v.Timezone, inZone(v.Next, v.Timezone))
		})
	})
}

// document is the compiled file, which has been found right.
func (a *scheduleAddCmd) document(run *server.SubmitParams) json.RawMessage {
	if run.Document != nil {
		return run.Document
	}
	document, _ := protocols.Parse(a.File, []byte(run.Workflow)) // it goes to a server as text
	w, _ := protocols.NewRegistry().Compile(document)
	return w.Encode()
}

// schedule is the file's, changed by the flags.
func (a *scheduleAddCmd) schedule(s *session, document json.RawMessage) (protocols.Schedule, error) {
	w, err := protocols.Decode(document)
	if err != nil {
		return protocols.Schedule{}, err
	}
	said := protocols.Schedule{}
	if w.Schedule != nil {
		said = *w.Schedule
	}
	if a.Cron != "" {
		if said.Cron, err = protocols.CheckCron(string(a.Cron)); err != nil {
			return said, fmt.Errorf("--%w", err)
		}
	}
	if said.Cron == "" {
		return said, fmt.Errorf(`%s says no schedule: give --cron, for example --cron "30 6 * * mon-fri"`, a.File)
	}
	if said.Timezone = firstOf(string(a.Timezone), said.Timezone); said.Timezone == "" {
		if said.Timezone, err = s.env.zone(); err != nil {
			return said, err
		}
	}
	said.Overlap = firstOf(a.Overlap, said.Overlap)
	if a.CatchUp != nil {
		said.CatchUp = *a.CatchUp
	}
	return said, scheduler.CheckSchedule(said)
}

// badSchedule finds what is wrong with the file's schedule beside its form.
func badSchedule(f *workflowFile, w *protocols.Workflow) (ps protocols.Problems) {
	if w.Schedule == nil {
		return nil
	}
	if err := scheduler.CheckSchedule(*w.Schedule); err != nil {
		ps = append(ps, f.problem(firstOf(w.Schedule.Timezone, "schedule"), "schedule: "+err.Error(), ""))
	}
	return ps
}

// aboutSchedule says what a schedule in a file needs to take effect.
func aboutSchedule(f *workflowFile, w *protocols.Workflow) (ps protocols.Problems) {
	if w.Schedule == nil {
		return nil
	}
	p := f.problem("schedule", "run takes no notice of schedule, which takes effect by: gleitzeit schedule add "+f.name, "")
	p.Warning = true
	return protocols.Problems{p}
}

// inZone writes a moment by a zone's clock.
func inZone(at time.Time, zone string) string {
	if at.IsZero() {
		return ""
	}
	if loc, err := time.LoadLocation(zone); err == nil {
		at = at.In(loc)
	}
	return at.Format("2006-01-02 15:04:05 -07:00")
}

// scheduleListCmd lists schedules.
type scheduleListCmd struct{}

// Help shows how it is used.
func (scheduleListCmd) Help() string {
	return `Examples:

	gleitzeit schedule list
	gleitzeit schedule list -o jsonl | jq -r .next`
}

// Run does it.
func (scheduleListCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		var all server.ScheduleListResult
		if err := store.Call(ctx, server.ScheduleList, struct{}{}, &all); err != nil {
			return err
		}
		if !all.Server && len(all.Schedules) > 0 {
			s.print.say("No server runs: nothing fires. To start one: gleitzeit%s server start", s.storeFlag())
		}
		return s.print.show(all.Schedules, func(w io.Writer) { s.writeSchedules(w, all.Schedules) })
	})
}

func (s *session) writeSchedules(w io.Writer, all []server.ScheduleView) {
	if len(all) == 0 {
		s.print.say("No schedules.")
		return
	}
	rows := [][]string{{"SCHEDULE", "WHEN", "ZONE", "NEXT", "LAST RUN", "STATUS"}}
	for _, v := range all {
		run, status := "", ""
		if v.Run != nil {
			run, status = v.Run.ID, s.print.outInk.status(string(v.Run.Status))
		}
		next := inZone(v.Next, v.Timezone)
		if v.Paused {
			next = "paused"
		}
		rows = append(rows, []string{v.Name, line(v.Cron, 40), v.Timezone, next, run, status})
	}
	table(w, rows)
}

// scheduleShowCmd shows a schedule.
type scheduleShowCmd struct {
	Name  string `arg:"" help:"The schedule's name."`
	Limit int    `default:"20" help:"At most so many lines of what happened, the last ones."`
}

// Help shows how it is used.
func (scheduleShowCmd) Help() string {
	return `Examples:

	gleitzeit schedule show report
	gleitzeit schedule show report --limit 1000 -o json | jq '.history[].text'`
}

// Run does it.
func (c *scheduleShowCmd) Run(s *session) error {
	return s.lookAtSchedule(server.ScheduleGetParams{Name: c.Name, History: c.Limit}, func(v server.ScheduleView) error {
		return s.print.show(v, func(w io.Writer) { s.writeSchedule(w, v) })
	})
}

func (s *session) lookAtSchedule(p server.ScheduleGetParams, show func(server.ScheduleView) error) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		var v server.ScheduleView
		if err := store.Call(ctx, server.ScheduleGet, p, &v); err != nil {
			return err
		}
		return show(v)
	})
}

func (s *session) writeSchedule(w io.Writer, v server.ScheduleView) {
	i := s.print.outInk
	state := "next " + inZone(v.Next, v.Timezone)
	if v.Paused {
		state = "paused"
	}
	fmt.Fprintf(w, "%s  %s in %s  %s\n", i.bold(v.Name), v.Cron, v.Timezone, state)
	fmt.Fprintf(w, "workflow %s from %s, overlap %s, catch_up %t\n", line(v.Workflow, 60), firstOf(v.Source, "nowhere"), v.Overlap, v.CatchUp)
	if v.Run != nil {
		fmt.Fprintf(w, "last run %s %s\n", v.Run.ID, i.status(string(v.Run.Status)))
	}
	if !v.Queued.IsZero() {
		fmt.Fprintf(w, "%s waits for its end\n", inZone(v.Queued, v.Timezone))
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, e := range v.History {
		rows = append(rows, []string{i.faint(e.Time.Local().Format(time.DateTime)), line(e.Text, 200)})
	}
	table(w, rows)
}

// scheduleNextCmd shows coming times.
type scheduleNextCmd struct {
	Name  string `arg:"" help:"The schedule's name."`
	Count int    `short:"n" default:"5" help:"How many."`
}

// Help shows how it is used.
func (scheduleNextCmd) Help() string {
	return `Examples:

	gleitzeit schedule next report
	gleitzeit schedule next report -n 100 -o json`
}

// Run does it.
func (c *scheduleNextCmd) Run(s *session) error {
	p := server.ScheduleGetParams{Name: c.Name, Upcoming: c.Count}
	return s.lookAtSchedule(p, func(v server.ScheduleView) error {
		if v.Paused {
			s.print.say("%s is paused: these are the times that it would have.", v.Name)
		}
		return s.print.show(v.Upcoming, func(w io.Writer) {
			for _, at := range v.Upcoming {
				fmt.Fprintln(w, inZone(at, v.Timezone))
			}
		})
	})
}

// schedulePauseCmd pauses schedules.
type schedulePauseCmd struct {
	Names []string `arg:"" name:"name" help:"The schedules' names."`
}

// Help shows how it is used.
func (schedulePauseCmd) Help() string {
	return `Runs that have begun go on. One that waits for the end of the last one is dropped.

Examples:

	gleitzeit schedule pause report`
}

// Run does it.
func (c *schedulePauseCmd) Run(s *session) error {
	return s.changeSchedules(c.Names, server.SchedulePause, "paused")
}

// scheduleUnpauseCmd lets them go on.
type scheduleUnpauseCmd struct {
	Names []string `arg:"" name:"name" help:"The schedules' names."`
}

// Help shows how it is used.
func (scheduleUnpauseCmd) Help() string {
	return `Nothing makes up for the times that came meanwhile.

Examples:

	gleitzeit schedule unpause report`
}

// Run does it.
func (c *scheduleUnpauseCmd) Run(s *session) error {
	return s.changeSchedules(c.Names, server.ScheduleUnpause, "")
}

// scheduleRemoveCmd removes schedules.
type scheduleRemoveCmd struct {
	Names []string `arg:"" name:"name" help:"The schedules' names."`
}

// Help shows how it is used.
func (scheduleRemoveCmd) Help() string {
	return `Examples:

	gleitzeit schedule remove report`
}

// Run does it.
func (c *scheduleRemoveCmd) Run(s *session) error {
	return s.changeSchedules(c.Names, server.ScheduleRemove, "removed")
}

// changeSchedules does something to schedules. What goes wrong with one keeps
// those after it from it.
func (s *session) changeSchedules(names []string, method, what string) error {
	return s.wish(func(ctx context.Context, store *client.Client) error {
		all := []server.ScheduleView{}
		for _, name := range names {
			v := server.ScheduleView{Name: name}
			if err := store.Call(ctx, method, server.ScheduleParams{Name: name, By: s.env.user()}, &v); err != nil {
				return err
			}
			all = append(all, v)
		}
		return s.print.show(all, func(w io.Writer) {
			for _, v := range all {
				fmt.Fprintf(w, "%s %s\n", v.Name, cmp.Or(what, "next "+inZone(v.Next, v.Timezone)))
			}
		})
	})
}
