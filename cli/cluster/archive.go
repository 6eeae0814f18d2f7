package cluster

import (
	"context"
	"fmt"
	"io"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
)

// This file takes runs of all partitions out into one file. Nobody has to own a
// partition for that: each is read as it is at that moment.

func (n *Node) export(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	p, _ := params.(server.ExportParams)
	var r server.ExportResult
	if err := server.Nearby(c, m.Name); err != nil {
		return nil, err
	}
	parts, err := n.parts(ctx, c, p.IDs)
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		r.Runs += len(part.Streams)
	}
	if r.Runs == 0 {
		return nil, server.ErrNoRuns
	}
	if err := server.IntoFile(p.Path, func(w io.Writer) (err error) {
		r.ArchiveInfo, err = n.store.Export(ctx, w, parts)
		return err
	}); err != nil {
		return nil, err
	}
	note := server.NoteParams{Method: m.Name, By: p.By, Text: fmt.Sprintf("runs into %s: %d", p.Path, r.Runs)}
	_, err = n.one(ctx, 1, c, n.methods[server.SystemNote], note)
	return r, err
}

// parts are the runs that are meant, all if none is named, by their partitions.
func (n *Node) parts(ctx context.Context, c *server.Call, ids []string) (parts []eventlog.Part, err error) {
	named := make([][]string, n.store.Count()+1)
	for _, id := range ids {
		number, own, err := n.whereIs(ctx, c, id)
		if err != nil {
			return nil, err
		}
		named[number] = append(named[number], own)
	}
	for number := 1; number <= n.store.Count(); number++ {
		if len(ids) > 0 && named[number] == nil {
			continue
		}
		s, log := n.openMirror(number)
		last, err := log.Settled()
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", number, err)
		}
		streams, err := s.Families(named[number], last)
		if err != nil {
			return nil, err
		}
		parts = append(parts, eventlog.Part{Number: number, Log: log, Streams: streams, Last: last})
	}
	return parts, nil
}
