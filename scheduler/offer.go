package scheduler

import (
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides about tasks whose secrets are not at hand. The core knows
// secrets by their references alone.

// Offer lets those tasks of a run go on that wait for nothing but secrets that
// are at hand now. It doesn't take the run on.
type Offer struct {
	Run     uint64
	Secrets []string // references, such as env:TOKEN
}

func (Offer) command() {}

// maxReferences bounds the references that one event names, and maxReference
// the bytes of one. A task that waits for some of its secrets asks for the
// others when it has got these.
const (
	maxReferences = 8
	maxReference  = 4 << 10
)

// decideOffer lets tasks of the run and of its children start again.
func decideOffer(s *replay.State, now time.Time, c Offer) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil {
		return nil, err
	}
	var given []int
	for i := range r.Tasks {
		if t := &r.Tasks[i]; t.Status == replay.TaskWaits && t.Wait.Kind == replay.WaitSecret && contains(c.Secrets, t.Wait.Secrets) {
			given = append(given, i)
		}
	}
	var out []replay.Fact
	for some := range slices.Chunk(given, maxSkipped) {
		out = append(out, facts(c.Run, now, &replay.SecretOffered{Tasks: some})...)
	}
	for _, child := range r.Children() {
		if more, err := decideOffer(s, now, Offer{Run: child, Secrets: c.Secrets}); err == nil {
			out = append(out, more...)
		}
	}
	return out, nil
}

// contains tells whether all wanted are in have.
func contains(have, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(have, w) })
}

// lacking is the wish of an attempt that can't begin without these secrets.
func lacking(j job, references []string) Await {
	references = references[:min(len(references), maxReferences)]
	return Await{Run: j.run, Task: j.task, Attempt: j.attempt, Wait: replay.Wait{Kind: replay.WaitSecret, Secrets: references}}
}

// checkReference refuses a reference that no event could name.
func checkReference(name, reference string) *protocols.Error {
	if len(reference) > maxReference {
		return protocols.Errorf(protocols.TaskParameterError, "the reference of the secret %s has %d bytes, the limit is %d",
			name, len(reference), maxReference)
	}
	return nil
}
