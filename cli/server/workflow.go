package server

import (
	"context"
	"maps"
	"slices"

	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file holds the wishes: what makes something happen.

func (s *Server) submit(ctx context.Context, c *Call, p SubmitParams) (r SubmitResult, err error) {
	sub, err := s.submitted(&p)
	if err != nil {
		return r, err
	}
	running, err := s.wish(c.Peer)
	if err != nil {
		return r, err
	}
	accepted, err := running.Accept(ctx, sub)
	return SubmitResult(accepted), err
}

// submitted reads what a peer submits.
func (s *Server) submitted(sub *SubmitParams) (scheduler.Submission, error) {
	switch {
	case sub.Workflow != "" && sub.Document != nil:
		return scheduler.Submission{}, protocols.Errorf(protocols.InvalidParams, "either workflow or document")
	case sub.Workflow != "" && s.o.Local.Compile == nil:
		return scheduler.Submission{}, errNotOffered
	case sub.Workflow != "":
		if err := s.o.Local.Compile(sub); err != nil {
			return scheduler.Submission{}, err
		}
	}
	return sub.submission()
}

// submission reads the documents.
func (p *SubmitParams) submission() (sub scheduler.Submission, err error) {
	if len(p.Document) == 0 {
		return sub, protocols.Errorf(protocols.InvalidParams, "a submission needs a workflow, which is the text of its file")
	}
	w, err := protocols.Decode(p.Document)
	if err != nil {
		return sub, protocols.Errorf(protocols.WorkflowValidationFailed, "the document: %v", err)
	}
	children, err := p.children()
	return scheduler.Submission{Workflow: w, Setup: p.Setup, Inputs: p.Inputs, Env: p.Env, Files: p.Files,
		Dir: p.Dir, Cwd: p.Cwd, Roots: p.Roots, Children: children, Names: p.Names, Source: p.Source, Priority: p.Priority, Queue: p.Queue,
		ID: p.ID, Key: p.Key, By: p.By, Trace: p.Traceparent, Secrets: p.Secrets}, err
}

// children reads the documents of the workflows that tasks run.
func (p *SubmitParams) children() (map[string]scheduler.Child, error) {
	all := make(map[string]scheduler.Child, len(p.Children))
	for place, c := range p.Children {
		w, err := protocols.Decode(c.Document)
		if err != nil {
			return nil, protocols.Errorf(protocols.WorkflowValidationFailed, "%s: the document: %v", place, err)
		}
		all[place] = scheduler.Child{Workflow: w, Files: c.Files, Dir: c.Dir, Names: c.Names}
	}
	return all, nil
}

func (s *Server) resume(ctx context.Context, c *Call, p ResumeParams) (r RunResult, err error) {
	ref, err := s.findLive(p.ID)
	if err != nil {
		return r, err
	}
	running, err := s.wish(c.Peer)
	if err != nil {
		return r, err
	}
	answers, err := s.answers(ctx, running, ref, p.Answers)
	if err == nil && len(p.Secrets) > 0 { // before anything starts that needs them
		err = running.Offer(ctx, ref.number, p.Secrets)
	}
	if err == nil {
		err = running.Resume(ctx, scheduler.Resume{Run: ref.number, Explicit: p.Explicit, Answers: answers, By: p.By})
	}
	return RunResult{ref.id}, s.unlessEnded(ref, err)
}

// answers turns ids of tasks into their places.
func (s *Server) answers(ctx context.Context, running *scheduler.Scheduler, ref runRef, given map[string]protocols.OnCrash) (map[int]protocols.OnCrash, error) {
	if len(given) == 0 {
		return nil, nil
	}
	tasks := slices.Sorted(maps.Keys(given))
	places, err := s.places(ctx, running, ref, tasks...)
	if err != nil {
		return nil, err
	}
	answers := make(map[int]protocols.OnCrash, len(given))
	for i, t := range tasks {
		switch a := given[t]; a {
		case protocols.CrashRetry, protocols.CrashFail, protocols.CrashSkip:
			answers[places[i]] = a
		default:
			return nil, protocols.Errorf(protocols.InvalidParams, "the answer for task %q must be retry, fail or skip, not %q", t, a)
		}
	}
	return answers, nil
}

func (s *Server) resumeAll(ctx context.Context, c *Call, p ResumeAllParams) (r RunsResult, err error) {
	r.IDs = []string{}
	running, err := s.wish(c.Peer)
	if err != nil {
		return r, err
	}
	if len(p.Secrets) > 0 {
		if err := running.OfferAll(ctx, p.Secrets); err != nil {
			return r, err
		}
	}
	numbers, err := running.ResumeAll(ctx, false, p.By)
	if err != nil {
		return r, err
	}
	for _, n := range numbers {
		id, found, err := s.idOf(n)
		if err != nil {
			return r, err
		}
		if found {
			r.IDs = append(r.IDs, id)
		}
	}
	return r, nil
}

func (s *Server) retry(ctx context.Context, c *Call, p RetryParams) (r RunResult, err error) {
	ref, err := s.find(p.ID)
	if err != nil {
		return r, err
	}
	running, err := s.wish(c.Peer)
	if err != nil {
		return r, err
	}
	return RunResult{ref.id}, running.Retry(ctx, scheduler.Again{Run: ref.number, Tasks: p.Tasks, From: p.From, End: p.End, By: p.By,
		Granted: p.usage(), Secrets: p.Secrets})
}

// interrupt is fine with a run that nobody runs, or not any more: nothing new
// of it starts.
func (s *Server) interrupt(ctx context.Context, _ *Call, p InterruptParams) (r RunResult, err error) {
	ref, err := s.find(p.ID)
	if err != nil {
		return r, err
	}
	r.ID = ref.id
	running := s.current()
	if running == nil || replay.Ends(ref.head) {
		return r, nil
	}
	err = s.unlessEnded(ref, running.Interrupt(ctx, ref.number, p.By, p.Force))
	if isCode(err, protocols.WorkflowInvalidState) {
		return r, nil
	}
	return r, err
}

func (s *Server) cancel(ctx context.Context, c *Call, p CancelParams) (RunResult, error) {
	return s.act(c.Peer, p.ID, func(running *scheduler.Scheduler, ref runRef) error {
		return running.Cancel(ctx, ref.number, p.By)
	})
}

// unlessEnded explains a scheduler's error about a run that it didn't find: it
// has ended since we looked.
func (s *Server) unlessEnded(ref runRef, err error) error {
	if !isCode(err, protocols.WorkflowNotFound) {
		return err
	}
	if _, ended := s.findLive(ref.id); ended != nil {
		return ended
	}
	return err
}
