package cluster

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file makes one answer of those of all partitions.

// decode reads JSON that may be none.
func decode(raw []byte, to any) error {
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, to)
}

// askAll has a call carried out in every partition, with the params for each,
// and returns what it came to in the order of their numbers.
func askAll[R any](n *Node, ctx context.Context, c *server.Call, m server.Method, params func(number int) any) ([]R, []error) {
	count := n.store.Count()
	results, errs := make([]R, count), make([]error, count)
	calls := make([]*server.Call, count)
	var asking sync.WaitGroup
	room := make(chan struct{}, 32)
	for i := range count {
		calls[i] = &server.Call{Peer: c.Peer}
		asking.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			var result any
			if result, errs[i] = n.one(ctx, i+1, calls[i], m, params(i+1)); errs[i] == nil {
				results[i] = result.(R)
			}
		})
	}
	asking.Wait()
	return results, errs
}

// firstOf is the error of the first partition that has one.
func firstOf(errs []error) error {
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("partition %d: %w", i+1, err)
		}
	}
	return nil
}

// merged has a call carried out in all partitions and adds the results up.
func merged[R any](add func(sum *R, one R)) way {
	return func(n *Node, ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
		results, errs := askAll[R](n, ctx, c, m, func(int) any { return params })
		if err := firstOf(errs); err != nil {
			return nil, err
		}
		sum := results[0]
		for _, one := range results[1:] {
			add(&sum, one)
		}
		return sum, nil
	}
}

func addRuns(sum *server.RunsResult, one server.RunsResult) { sum.IDs = append(sum.IDs, one.IDs...) }

func addReferences(sum *server.ReferencesResult, one server.ReferencesResult) {
	sum.References = append(sum.References, one.References...)
	slices.Sort(sum.References)
	sum.References = slices.Compact(sum.References)
}

func addCompact(sum *server.CompactResult, one server.CompactResult) {
	sum.Before += one.Before
	sum.After += one.After
}

func addAudit(sum *server.AuditResult, one server.AuditResult) {
	sum.Entries = append(sum.Entries, one.Entries...)
	slices.SortStableFunc(sum.Entries, func(a, b replay.Entry) int { return a.Time.Compare(b.Time) })
}

// providers asks for the same providers everywhere: those of this node, unless
// some are named. Another node may be configured with others.
func (n *Node) providers(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	p, _ := params.(server.ProviderStateParams)
	if setup := n.o.Server.Local.Setup; len(p.Providers) == 0 && setup != nil {
		p.Providers = setup().Providers
	}
	return merged(addProviders)(n, ctx, c, m, p)
}

// addProviders adds up the calls. A breaker is shown as the worst that it is
// anywhere, and rates as the least that is left.
func addProviders(sum *server.ProviderStatesResult, one server.ProviderStatesResult) {
	for i := range min(len(sum.States), len(one.States)) {
		s, o := &sum.States[i], one.States[i]
		s.InUse += o.InUse
		s.Slots += o.Slots
		s.Waiting += o.Waiting
		if worse(o.Breaker) > worse(s.Breaker) {
			s.Breaker, s.Until, s.Failures, s.Error = o.Breaker, o.Until, o.Failures, o.Error
		}
		s.CallsLeft, s.TokensLeft = least(s.CallsLeft, o.CallsLeft), least(s.TokensLeft, o.TokensLeft)
	}
}

func worse(breaker string) int {
	return slices.Index([]string{"", "closed", "half_open", "open"}, breaker)
}

func least(a, b *int64) *int64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// status adds up what the partitions say, and tells who has them.
func (n *Node) status(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	results, errs := askAll[server.StatusResult](n, ctx, c, m, func(int) any { return params })
	if err := firstOf(errs); err != nil {
		return nil, err
	}
	owners, err := n.owners(ctx)
	if err != nil {
		return nil, err
	}
	own, nodes := n.o.Server, map[string]bool{}
	sum := server.StatusResult{Store: own.Dir, ID: n.store.ID(), PID: os.Getpid(), Since: n.since, Version: own.Scheduler.Version,
		Server: n.o.Serve, Runs: map[replay.Status]int{}}
	sum.Format, sum.Engine, sum.Promise, sum.Durability = results[0].Format, results[0].Engine, results[0].Promise, results[0].Durability
	last := make([]eventlog.Seq, len(results))
	for i, r := range results {
		sum.Records += r.Records
		sum.Values += r.Values
		sum.ValueBytes += r.ValueBytes
		sum.DiskBytes += r.DiskBytes
		sum.Running += r.Running
		sum.Ready += r.Ready
		sum.Slots += r.Slots
		sum.Scheduler = sum.Scheduler || r.Scheduler
		for status, count := range r.Runs {
			sum.Runs[status] += count
		}
		o := owners[i]
		sum.Partitions = append(sum.Partitions, server.PartitionStatus{Partition: i + 1, Node: o.Node, Host: o.Host, PID: o.PID, Epoch: o.Epoch, Last: r.Last, Running: r.Running})
		if last[i] = r.Last; o.Node != "" {
			nodes[o.Node] = true
		}
	}
	sum.Nodes, sum.Cursor, sum.Leaving = len(nodes), server.Cursor(last), n.isLeaving()
	return sum, nil
}

// verify reads all partitions.
func (n *Node) verify(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	results, errs := askAll[server.VerifyResult](n, ctx, c, m, func(int) any { return params })
	if err := firstOf(errs); err != nil {
		return nil, err
	}
	sum := server.VerifyResult{Problems: []string{}}
	for i, r := range results {
		sum.Last += r.Last
		sum.Streams += r.Streams
		sum.Records += r.Records
		sum.Deleted += r.Deleted
		sum.Values += r.Values
		sum.ValueBytes += r.ValueBytes
		sum.Keys += r.Keys
		sum.Checkpoints += r.Checkpoints
		for _, problem := range r.Problems {
			sum.Problems = append(sum.Problems, fmt.Sprintf("partition %d: %s", i+1, problem))
		}
	}
	return sum, nil
}

// gc keeps in each partition its part of what is to be kept.
func (n *Node) gc(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	p, _ := params.(server.GCParams)
	count := n.store.Count()
	p.Keep, p.Bytes = share(p.Keep, count), int64(share(int(p.Bytes), count))
	return merged(func(sum *server.GCResult, one server.GCResult) {
		sum.Runs += one.Runs
		sum.Before += one.Before
		sum.After += one.After
	})(n, ctx, c, m, p)
}

// list merges pages, the newest runs first. Its cursor is where each partition's
// next page begins.
func (n *Node) list(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	p, _ := params.(server.ListParams)
	before, err := parsePage(p.Cursor, n.store.Count())
	if err != nil {
		return nil, err
	}
	if p.Limit == 0 {
		p.Limit = server.DefaultPage
	}
	pages, errs := askAll[server.ListResult](n, ctx, c, m, func(number int) any {
		own := p
		own.Cursor, own.Before = "", before[number-1]
		return own
	})
	if err := firstOf(errs); err != nil {
		return nil, err
	}
	return mergePages(pages, before, p.Limit), nil
}

// over is the Before of a partition that has nothing more: no run's number is
// smaller.
const over = 1

// mergePages takes runs from the pages, the newest first, until there are
// enough, or a page is at its end that isn't the last of its partition.
func mergePages(pages []server.ListResult, before []uint64, limit int) server.ListResult {
	r := server.ListResult{Runs: []*replay.RunView{}}
	for len(r.Runs) < limit {
		newest := -1
		for i, page := range pages {
			if len(page.Runs) == 0 {
				if page.Next != 0 {
					newest = -1
					break // what it would bring next may be newer than all others
				}
				continue
			}
			if newest < 0 || page.Runs[0].Submitted.After(pages[newest].Runs[0].Submitted) {
				newest = i
			}
		}
		if newest < 0 {
			break
		}
		r.Runs = append(r.Runs, pages[newest].Runs[0])
		pages[newest].Runs = pages[newest].Runs[1:]
	}
	more := false
	for i, page := range pages {
		switch {
		case len(page.Runs) > 0:
			before[i] = page.Runs[0].Number + 1
		case page.Next != 0:
			before[i] = page.Next
		default:
			before[i] = over
		}
		more = more || before[i] != over
	}
	if more {
		r.Cursor = formatPage(before)
	}
	return r
}

func formatPage(before []uint64) string {
	var raw []byte
	for _, b := range before {
		raw = binary.AppendUvarint(raw, b)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parsePage reads a cursor; "" is the first page.
func parsePage(text string, count int) ([]uint64, error) {
	before := make([]uint64, count)
	if text == "" {
		return before, nil
	}
	wrong := protocols.Errorf(protocols.InvalidParams, "the cursor isn't one of this store")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, wrong
	}
	for i := range before {
		n, size := binary.Uvarint(raw)
		if size <= 0 {
			return nil, wrong
		}
		before[i], raw = n, raw[size:]
	}
	return before, nil
}
