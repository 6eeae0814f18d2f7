package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// systemCmd is about the store and whoever holds it.
type systemCmd struct {
	Status  systemStatusCmd  `cmd:"" help:"Show the store, who holds it, and what runs."`
	Verify  systemVerifyCmd  `cmd:"" help:"Read the whole store and check that nothing in it is missing or was changed."`
	Backup  systemBackupCmd  `cmd:"" help:"Write the whole store into a file, while runs go on."`
	Restore systemRestoreCmd `cmd:"" help:"Make a store of a backup."`
	Repair  systemRepairCmd  `cmd:"" help:"Cut the damaged end off a store, and say what is lost."`
	GC      systemGCCmd      `cmd:"" name:"gc" help:"Remove runs that have ended."`
	Compact systemCompactCmd `cmd:"" help:"Give back the room of what was removed."`
	Audit   systemAuditCmd   `cmd:"" help:"Show who did what to the store, beside its runs."`
}

// systemStatusCmd shows the store.
type systemStatusCmd struct{}

// Help shows how it is used.
func (systemStatusCmd) Help() string {
	return `Examples:

	gleitzeit system status
	gleitzeit system status -o json | jq .running`
}

// Run does it.
func (systemStatusCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		var v server.StatusResult
		if err := store.Call(ctx, server.SystemStatus, struct{}{}, &v); err != nil {
			return err
		}
		return s.print.show(v, func(w io.Writer) { writeSystem(w, v, store.Holder()) })
	})
}

func writeSystem(w io.Writer, v server.StatusResult, ours bool) {
	holder := "nobody"
	if !ours {
		holder = fmt.Sprintf("process %d since %s", v.PID, v.Since.Local().Format(time.DateTime))
		if v.Server {
			holder += ", a server"
		}
		if v.Leaving {
			holder += ", about to leave"
		}
	}
	var runs []replay.Status
	for status := range v.Runs {
		runs = append(runs, status)
	}
	slices.Sort(runs)
	live := ""
	for _, status := range runs {
		live += fmt.Sprintf("%d %s  ", v.Runs[status], status)
	}
	records := fmt.Sprintf("%d, the last is %d", v.Records, v.Last)
	if len(v.Partitions) > 0 {
		holder, records = writeNodes(v), fmt.Sprint(v.Records)
	}
	rows := [][]string{
		{"store", firstOf(v.Store, "in memory")},
		{"kept by", fmt.Sprintf("%s: %s", v.Engine, v.Promise)},
	}
	if v.ReadOnly != "" {
		rows = append(rows, []string{"written", "no: " + v.ReadOnly})
	}
	table(w, append(rows, [][]string{
		{"held by", holder},
		{"records", records},
		{"values", fmt.Sprintf("%d, %s", v.Values, bytesOf(int64(v.ValueBytes)))},
		{"on disk", bytesOf(v.DiskBytes)},
		{"running", fmt.Sprintf("%d of %s, %d ready", v.Running, plural(v.Slots, "slot"), v.Ready)},
		{"live runs", firstOf(live, "none")},
	}...))
}

// writeNodes says who has the partitions of a store that is divided.
func writeNodes(v server.StatusResult) string {
	has, nobody := map[string]int{}, 0
	for _, p := range v.Partitions {
		if p.Node == "" {
			nobody++
			continue
		}
		has[fmt.Sprintf("process %d on %s", p.PID, p.Host)]++
	}
	text := plural(v.Nodes, "node")
	for i, name := range slices.Sorted(maps.Keys(has)) {
		text += ","
		if i == 0 {
			text += " which have of " + plural(len(v.Partitions), "partition")
		}
		text += fmt.Sprintf(" %s %d", name, has[name])
	}
	if nobody > 0 {
		text += fmt.Sprintf("; nobody has %d", nobody)
	}
	return text
}

// bytesOf writes a size for people.
func bytesOf(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	for i := 0; ; i++ {
		if size /= unit; size < unit || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", size, units[i])
		}
	}
}

// systemVerifyCmd checks the store.
type systemVerifyCmd struct{}

// Help shows how it is used.
func (systemVerifyCmd) Help() string {
	return `With any problem the exit code is 10.

Examples:

	gleitzeit system verify
	gleitzeit system verify --store /backup/gleitzeit -o json`
}

// report is what verify found.
type report struct {
	Sound bool `json:"sound"`
	server.VerifyResult
}

// Run does it.
func (systemVerifyCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		var r report
		if err := store.Call(ctx, server.SystemVerify, struct{}{}, &r.VerifyResult); err != nil {
			return err
		}
		r.Sound = len(r.Problems) == 0
		err := s.print.show(r, func(w io.Writer) {
			for _, problem := range r.Problems {
				fmt.Fprintln(w, problem)
			}
			if r.Sound {
				fmt.Fprintf(w, "sound: %s in %s, %s (%s), checked up to %d\n", plural(int(r.Records), "record"),
					plural(int(r.Streams), "stream"), plural(int(r.Values), "value"), bytesOf(int64(r.ValueBytes)), r.Last)
			}
		})
		if err == nil && !r.Sound {
			err = &exit{exitStore, fmt.Errorf("the store is damaged: %s", plural(len(r.Problems), "problem"))}
		}
		return err
	})
}
