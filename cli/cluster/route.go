package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"regexp"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file says which partition a call is about.

// A way is how the calls of one method find their partitions.
type way func(n *Node, ctx context.Context, c *server.Call, m server.Method, params any) (any, error)

// ways has every method that needs a log. All others are carried out by the
// front itself.
var ways map[string]way

func init() { // a way may name others
	ways = map[string]way{
		server.WorkflowSubmit: (*Node).submit, server.WorkflowRun: (*Node).submit,
		server.WorkflowFind: (*Node).findRun,

		server.WorkflowWait: (*Node).ofRun, server.WorkflowResume: (*Node).ofRun, server.WorkflowInterrupt: (*Node).ofRun,
		server.WorkflowCancel: (*Node).ofRun, server.WorkflowPause: (*Node).ofRun, server.WorkflowUnpause: (*Node).ofRun,
		server.WorkflowRetry: (*Node).retry, server.SignalSend: (*Node).ofRun, server.ApprovalDecide: (*Node).ofRun,
		server.WorkflowStatus: (*Node).ofRun, server.TaskGet: (*Node).ofRun, server.WorkflowGet: (*Node).ofRun,
		server.WorkflowHistory: (*Node).ofRun,

		server.LogFollow: (*Node).follow, server.SecretReferences: (*Node).references, server.WorkflowList: (*Node).list,
		server.WorkflowResumeAll: merged(addRuns), server.ProviderState: (*Node).providers,
		server.SystemStatus: (*Node).status, server.SystemVerify: (*Node).verify, server.SystemGC: (*Node).gc,
		server.SystemCompact: merged(addCompact), server.SystemAudit: merged(addAudit),

		server.ScheduleAdd: (*Node).first, server.ScheduleList: (*Node).first, server.ScheduleGet: (*Node).first,
		server.SchedulePause: (*Node).first, server.ScheduleUnpause: (*Node).first, server.ScheduleRemove: (*Node).first,
		server.SystemNote: (*Node).first,

		server.SystemBackup: refused, server.SystemExport: (*Node).export, server.SystemImport: refused,
	}
}

// Here tells whether the front carries a method out by itself.
func (n *Node) Here(method string) bool { return ways[method] == nil }

// Route carries out a call of any other method.
func (n *Node) Route(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	return ways[m.Name](n, ctx, c, m, params)
}

// refused says that something is about a log, of which there are many.
func refused(n *Node, _ context.Context, _ *server.Call, m server.Method, _ any) (any, error) {
	return nil, protocols.Errorf(protocols.MethodNotSupported,
		"%s is for a store that is one log; this one has %d partitions in a Redis, whose own tools save and restore all of them (export takes runs out)", m.Name, n.store.Count())
}

// one has a call carried out in one partition.
func (n *Node) one(ctx context.Context, number int, c *server.Call, m server.Method, params any) (any, error) {
	return n.do(ctx, number, sent{call: c, method: m, params: keyed(params), looks: m.Role == server.Read})
}

// keyed gives params without a key one if they would count twice, should the
// call be made again.
func keyed(params any) any {
	switch p := params.(type) {
	case server.SignalParams:
		p.Key = cmp.Or(p.Key, rand.Text())
		return p
	case server.ApprovalParams:
		p.Key = cmp.Or(p.Key, rand.Text())
		return p
	case server.ScheduleAddParams:
		p.Key = cmp.Or(p.Key, rand.Text())
		return p
	}
	return params
}

// first has it carried out in the first, where schedules and their runs live.
func (n *Node) first(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	return n.one(ctx, 1, c, m, params)
}

// partitionOf is the partition that a text chooses.
func (n *Node) partitionOf(text string) int {
	h := fnv.New64a()
	h.Write([]byte(text))
	sum := h.Sum64()
	sum ^= sum >> 32 // the last bit alone is that of the bytes' sum
	return int(sum%uint64(n.store.Count())) + 1
}

// ownIDs are ids that look like those that we give.
var ownIDs = regexp.MustCompile(`(^|-)[0-9]+x[0-9]+$`)

// submit has a run made in the partition that its key chooses, or its id, or
// chance. Chance is a key, too: should the call be made again, it is the same
// run.
func (n *Node) submit(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	var p server.SubmitParams
	switch given := params.(type) {
	case server.SubmitParams:
		p = given
	case server.RunNowParams:
		p = given.SubmitParams
	}
	by := p.Key
	if by == "" {
		by, p.Key = p.ID, rand.Text()
	}
	if by == "" {
		by = p.Key
	}
	number := n.partitionOf(by)
	noted, err := n.note(ctx, p.ID, number)
	if err != nil {
		return nil, err
	}
	var full any = p
	if given, waits := params.(server.RunNowParams); waits {
		given.SubmitParams = p
		full = given
	}
	result, err := n.one(ctx, number, c, m, full)
	var e *protocols.Error
	if noted && errors.As(err, &e) && e.Code != protocols.PersistenceConnectionFailed && e.Code != protocols.SystemShutdown && ctx.Err() == nil {
		_ = n.store.Unname(ctx, p.ID, number) // it was refused; if this fails, the id stays with the partition
	}
	return result, err
}

// note notes where the run with an id is that somebody chose, and tells whether
// that was not known before.
func (n *Node) note(ctx context.Context, id string, number int) (fresh bool, err error) {
	if id == "" {
		return false, nil
	}
	if ownIDs.MatchString(id) {
		return false, protocols.Errorf(protocols.InvalidParams, "the id %q ends as those that runs get by themselves here", id)
	}
	has, fresh, err := n.store.Name(ctx, id, number)
	if err == nil && has != number {
		err = protocols.Errorf(protocols.WorkflowInvalidState, "there is a run with the id %q already", id)
	}
	return fresh, err
}

// ofRun has a call carried out where its run is.
func (n *Node) ofRun(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	number, id, err := n.whereIs(ctx, c, idOf(params))
	if err != nil {
		return nil, err
	}
	return n.one(ctx, number, c, m, withID(params, id))
}

// retry has it said which end is taken back: should the call be made again, that
// one is, and no later one.
func (n *Node) retry(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	p, _ := params.(server.RetryParams)
	number, id, err := n.whereIs(ctx, c, p.ID)
	if err != nil {
		return nil, err
	}
	if p.ID = id; p.End == 0 {
		s, err := n.mirror(number)
		if err == nil {
			p.End, err = s.EndOf(id)
		}
		if err != nil {
			return nil, err
		}
	}
	return n.one(ctx, number, c, m, p)
}

// idOf is the id of the run that params are about.
func idOf(params any) string { return reflect.ValueOf(params).FieldByName("ID").String() }

// withID returns params about the run with that id.
func withID(params any, id string) any {
	own := reflect.New(reflect.TypeOf(params)).Elem()
	own.Set(reflect.ValueOf(params))
	own.FieldByName("ID").SetString(id)
	return own.Interface()
}

// whereIs finds the partition of the run that an id stands for, and its id, or what
// finds it there. What the id tells by itself is not looked up.
func (n *Node) whereIs(ctx context.Context, c *server.Call, id string) (number int, own string, err error) {
	if partition, _, ok := replay.PlaceOf(id); ok && partition > 0 && partition <= n.store.Count() {
		return partition, id, nil
	}
	if id != "" && id != "@last" {
		if number, err := n.store.Named(ctx, id); number > 0 || err != nil {
			return number, id, err
		}
	}
	found, number, err := n.find(ctx, c, id)
	return number, found.ID, err
}

func (n *Node) findRun(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	number, id, err := n.whereIs(ctx, c, idOf(params))
	if err != nil {
		return nil, err
	}
	return n.one(ctx, number, c, m, server.RunParams{ID: id})
}

// find asks all partitions for a run: the only one, or the last.
func (n *Node) find(ctx context.Context, c *server.Call, id string) (found server.FindResult, number int, err error) {
	results, errs := askAll[server.FindResult](n, ctx, c, n.methods[server.WorkflowFind], func(int) any { return server.RunParams{ID: id} })
	var candidates []string
	for i, r := range results {
		switch e := errs[i]; {
		case e == nil && id == "@last":
			if number == 0 || r.Submitted.After(found.Submitted) {
				found, number = r, i+1
			}
		case e == nil:
			candidates = append(candidates, r.ID)
			found, number = r, i+1
		case isCode(e, protocols.WorkflowNotFound):
			err = e
		default:
			several := severalOf(e)
			if several == nil {
				return found, 0, e
			}
			candidates = append(candidates, several...)
		}
	}
	switch {
	case len(candidates) > 1:
		return found, 0, server.Ambiguous(id, candidates)
	case number > 0:
		return found, number, nil
	}
	return found, 0, err
}

// severalOf are the ids for which an id may stand, if the error says so.
func severalOf(err error) []string {
	var e *protocols.Error
	var data struct {
		Candidates []string `json:"candidates"`
	}
	if !errors.As(err, &e) || decode(e.Data, &data) != nil {
		return nil
	}
	return data.Candidates
}

func isCode(err error, code protocols.Code) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == code
}

// follow subscribes to events, which this node reads itself.
func (n *Node) follow(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	p, _ := params.(server.FollowParams)
	if p.ID == "" {
		var all []*server.Server
		for number := 1; number <= n.store.Count(); number++ {
			s, err := n.mirror(number)
			if err != nil {
				return nil, fmt.Errorf("partition %d: %w", number, err)
			}
			all = append(all, s)
		}
		return server.Follow(ctx, c, all, p)
	}
	number, id, err := n.whereIs(ctx, c, p.ID)
	if err != nil {
		return nil, err
	}
	s, err := n.mirror(number)
	if err != nil {
		return nil, err
	}
	return s.Do(ctx, c, m, withID(params, id))
}

// references are those of one run, or of all.
func (n *Node) references(ctx context.Context, c *server.Call, m server.Method, params any) (any, error) {
	if idOf(params) != "" {
		return n.ofRun(ctx, c, m, params)
	}
	return merged(addReferences)(n, ctx, c, m, params)
}
