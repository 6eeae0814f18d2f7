package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file takes the store, or runs, out into files and brings runs in. The
// files lie on this machine and are named by its user: whoever comes from
// elsewhere may not.

// Nearby refuses a peer that isn't this machine's user.
func Nearby(c *Call, what string) error { return nearby(c, what) }

// nearby refuses a peer that isn't this machine's user.
func nearby(c *Call, what string) error {
	if c.Peer.trusted {
		return nil
	}
	return protocols.Errorf(protocols.AuthorizationFailed, "%s is only for commands of the server's user on the same machine", what)
}

func (s *Server) backup(ctx context.Context, c *Call, p FileParams) (r eventlog.ArchiveInfo, err error) {
	if err := nearby(c, SystemBackup); err != nil {
		return r, err
	}
	err = IntoFile(p.Path, func(w io.Writer) error {
		r, err = s.log.Backup(ctx, w)
		return err
	})
	return r, s.noted(ctx, err, SystemBackup, p.By, "into %s", p.Path)
}

func (s *Server) export(ctx context.Context, c *Call, p ExportParams) (r ExportResult, err error) {
	if err := nearby(c, SystemExport); err != nil {
		return r, err
	}
	last := s.log.Last()
	streams, err := s.Families(p.IDs, last)
	if err != nil {
		return r, err
	}
	if r.Runs = len(streams); r.Runs == 0 {
		return r, ErrNoRuns
	}
	err = IntoFile(p.Path, func(w io.Writer) error {
		r.ArchiveInfo, err = s.log.Export(ctx, w, streams, last)
		return err
	})
	return r, s.noted(ctx, err, SystemExport, p.By, "runs into %s: %d", p.Path, r.Runs)
}

// ErrNoRuns says that there is nothing to export.
var ErrNoRuns = protocols.Errorf(protocols.WorkflowNotFound, "there are no runs")

// Families are the streams of runs, all if none is named, and of those that they
// started, as they were up to the record last.
func (s *Server) Families(ids []string, last eventlog.Seq) (streams []string, err error) {
	numbers, err := s.toExport(ids)
	if err != nil {
		return nil, err
	}
	return replay.Family(s.log, numbers, last)
}

// toExport finds the runs that are meant.
func (s *Server) toExport(ids []string) (numbers []uint64, err error) {
	for _, id := range ids {
		ref, err := s.find(id)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, ref.number)
	}
	if len(ids) > 0 {
		return numbers, nil
	}
	for name, err := range s.log.Streams(replay.RunPrefix, false, "") {
		if err != nil {
			return nil, err
		}
		if n, ok := replay.RunOf(name); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// IntoFile makes a file that is there when it is whole and on disk, or not at
// all. It replaces none.
func IntoFile(path string, write func(io.Writer) error) error {
	if !filepath.IsAbs(path) {
		return protocols.Errorf(protocols.InvalidParams, "the path %q must be absolute", path)
	}
	if _, err := os.Lstat(path); err == nil {
		return protocols.Errorf(protocols.InvalidParams, "%s is there already", path)
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return err
	}
	err = write(part)
	if err == nil {
		err = part.Sync()
	}
	err = errors.Join(err, part.Close())
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	return nil
}

// importRuns brings the runs of an archive in. What is under way in it was begun
// elsewhere, and is as what a crash left.
func (s *Server) importRuns(ctx context.Context, c *Call, p ImportParams) (r ImportResult, err error) {
	if err := nearby(c, SystemImport); err != nil {
		return r, err
	}
	file, err := os.Open(p.Path)
	if err != nil {
		return r, protocols.Errorf(protocols.InvalidParams, "%v", err)
	}
	defer file.Close()
	arrivals, err := readRuns(file)
	if err == nil {
		arrivals.Key = p.Key
		r.Runs, err = s.bringIn(ctx, arrivals)
	}
	if err != nil {
		return r, fmt.Errorf("import %s: %w", p.Path, err)
	}
	return r, s.noted(ctx, nil, SystemImport, p.By, "runs of %s: %d", p.Path, len(r.Runs))
}

// readRuns reads an archive.
func readRuns(r io.Reader) (*replay.Arrivals, error) {
	return replay.ReadRuns(func(item func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error {
		var of error // item's own
		_, err := eventlog.ReadArchive(r, func(h eventlog.ArchiveHeader, it eventlog.ArchiveItem) error {
			of = item(h, it)
			return of
		})
		if err != nil && of == nil {
			err = protocols.Errorf(protocols.PersistenceIntegrityError, "%v", err)
		}
		return err
	})
}

// bringIn puts runs into the log: in the loop of whoever carries runs out, if
// there is one.
func (s *Server) bringIn(ctx context.Context, a *replay.Arrivals) ([]replay.Moved, error) {
	s.making.Lock() // no scheduler comes meanwhile
	if running := s.current(); running != nil {
		s.making.Unlock()
		return running.Import(ctx, a)
	}
	defer s.making.Unlock()
	state, err := replay.Load(s.log)
	if err != nil {
		return nil, err
	}
	state.Partition = s.o.Scheduler.Partition
	return scheduler.Import(s.log, state, a)
}

func (s *Server) compact(ctx context.Context, _ *Call, p ActorParams) (r CompactResult, err error) {
	s.log.Spend()
	r.Before = s.log.Stats().DiskBytes
	err = s.log.Compact(ctx)
	r.After = s.log.Stats().DiskBytes
	return r, s.noted(ctx, err, SystemCompact, p.By, "%d bytes became %d", r.Before, r.After)
}
