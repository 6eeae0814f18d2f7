package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
)

// This file moves runs and whole stores between stores and machines.

// exportCmd writes runs into a file.
type exportCmd struct {
	IDs []string `arg:"" optional:"" name:"id" help:"${id}"`
	All bool     `help:"All runs."`
	To  string   `placeholder:"FILE" help:"The file to write; it may not be there yet (default: the first run's name and .runs)."`
}

// Help shows how it is used.
func (exportCmd) Help() string {
	return `The file has all that happened to the runs, and to those that they started, with every
value: it needs nothing else, and tells when a byte of it was changed. Secrets are
not in it. A run that goes on meanwhile is in it as it is now.

Examples:

	gleitzeit export report-7
	gleitzeit export --all --to all.runs
	gleitzeit import --store elsewhere all.runs && gleitzeit resume --store elsewhere`
}

// Run does it.
func (e *exportCmd) Run(s *session) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	if e.All == (len(e.IDs) > 0) {
		return usage(errors.New("name the runs to export, or say --all"))
	}
	to := e.To
	if to == "" {
		to = firstOf(append(e.IDs, "all")...) + ".runs"
	}
	return s.look(func(ctx context.Context, store *client.Client) error {
		var r server.ExportResult
		p := server.ExportParams{IDs: e.IDs, Path: s.env.expand(to, s.env.cwd), By: s.env.user()}
		if err := store.Call(ctx, server.SystemExport, p, &r); err != nil {
			return err
		}
		return s.print.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "%s in %s (%s)\n", plural(r.Runs, "run"), to, bytesOf(r.Bytes))
		})
	})
}

// importCmd brings runs in.
type importCmd struct {
	File string `arg:"" help:"What export wrote."`
}

// Help shows how it is used.
func (importCmd) Help() string {
	return `Each run gets a new number, and a new id unless its own was chosen with --id. All of
them come in or none. Runs that had not ended are as after a crash: resume goes on
with them. Others may go on meanwhile.

Examples:

	gleitzeit import report-7.runs
	gleitzeit import report-7.runs && gleitzeit resume @last`
}

// Run does it.
func (i *importCmd) Run(s *session) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	return s.with(keeps, func(ctx context.Context, store *client.Client) error {
		var r server.ImportResult
		if err := store.Call(ctx, server.SystemImport, server.ImportParams{Path: s.env.expand(i.File, s.env.cwd), By: s.env.user()}, &r); err != nil {
			return err
		}
		return s.print.show(r, func(w io.Writer) {
			for _, one := range r.Runs {
				fmt.Fprintf(w, "%s is %s now, %s\n", one.From, one.ID, firstOf(string(one.Status), "to be resumed"))
			}
		})
	})
}

// systemBackupCmd writes the whole store into a file.
type systemBackupCmd struct {
	File string `arg:"" help:"The file to write; it may not be there yet."`
}

// Help shows how it is used.
func (systemBackupCmd) Help() string {
	return `The backup is the store of one moment; runs go on meanwhile. (In a store of redis
what happens waits until it is done.)

Examples:

	gleitzeit system backup monday.store
	gleitzeit system restore monday.store --store elsewhere`
}

// Run does it.
func (b *systemBackupCmd) Run(s *session) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	return s.look(func(ctx context.Context, store *client.Client) error {
		var info eventlog.ArchiveInfo
		if err := store.Call(ctx, server.SystemBackup, server.FileParams{Path: s.env.expand(b.File, s.env.cwd), By: s.env.user()}, &info); err != nil {
			return err
		}
		return s.showArchive(info, b.File)
	})
}

func (s *session) showArchive(info eventlog.ArchiveInfo, name string) error {
	return s.print.show(info, func(w io.Writer) {
		fmt.Fprintf(w, "%s and %s in %s (%s)\n", plural(int(info.Records), "record"), plural(int(info.Values), "value"),
			name, bytesOf(info.Bytes))
	})
}

// systemRestoreCmd makes a store of a backup.
type systemRestoreCmd struct {
	File string `arg:"" help:"What backup wrote."`
}

// Help shows how it is used.
func (systemRestoreCmd) Help() string {
	return `The store must not be there yet. It may be of another backend than the one that the
backup was made from, and is the same store: do not go on with both.

Examples:

	gleitzeit system restore monday.store --store elsewhere
	gleitzeit system restore monday.store --backend sqlite --store as-file`
}

// Run does it. Nobody can hold a store that isn't there, so nobody is asked.
func (r *systemRestoreCmd) Run(s *session) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	c, err := s.config("")
	if err != nil {
		return err
	}
	if c.Backend == "memory" {
		return usage(errors.New("a store in memory would end with this command: choose another backend"))
	}
	file, err := os.Open(s.env.expand(r.File, s.env.cwd))
	if err != nil {
		return usage(err)
	}
	defer file.Close()
	ctx, stop := interruptible()
	defer stop()
	if err := os.MkdirAll(filepath.Dir(c.Store), 0o700); err != nil {
		return &exit{exitStore, err}
	}
	o := c.log()
	o.Fatal = s.fatal("system restore")
	info, err := eventlog.Restore(ctx, file, c.Store, o)
	if err != nil {
		return &exit{exitStore, err}
	}
	return s.showArchive(info, c.Store)
}
