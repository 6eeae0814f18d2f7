package replay

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gleitzeit/eventlog"
)

// KeyHolder is the run that was submitted last under an idempotency key.
type KeyHolder struct {
	Submitted *WorkflowSubmitted
	At        time.Time
}

// idPrefix begins the keys that are chosen ids, and sentPrefix those of
// signals and decisions; no idempotency key may begin so.
const (
	idPrefix   = "id:"
	sentPrefix = "sent:"
)

// SentKey is the key under which the log finds the run that has had a signal
// or a decision which was sent under that name.
func SentKey(name string) string { return sentPrefix + name }

// CallKey is the key under which the log finds what a call has changed, by the
// name that whoever passes it on has drawn for it.
func CallKey(name string) string { return SentKey("call " + name) }

// sentKeys are the keys of such an event.
func sentKeys(name string) []string {
	if name == "" {
		return nil
	}
	return []string{SentKey(name)}
}

// schedulePrefixOfKeys begins the keys of the runs that schedules start.
const schedulePrefixOfKeys = "schedule:"

// ScheduleKey is the idempotency key of the run of one time of a schedule.
func ScheduleKey(name string, at time.Time) string {
	return schedulePrefixOfKeys + name + ":" + at.UTC().Format(time.RFC3339)
}

// IDKey is the key under which the log finds a run by an id that its submitter
// chose.
func IDKey(id string) string { return idPrefix + id }

// IDTaken tells whether a run that is in the log has the id, chosen or not.
func IDTaken(log *eventlog.Log, id string) (bool, error) {
	if _, taken, err := log.Lookup(IDKey(id)); taken || err != nil {
		return taken, err
	}
	_, number, ok := PlaceOf(id)
	if !ok {
		return false, nil
	}
	h, err := submittedIn(log, Stream(number))
	return h != nil && h.Submitted.ID == id, err
}

// keyStream is the stream of who took a key after it had expired.
func keyStream(key string) string { return "key/" + eventlog.Sum([]byte(key)).String() }

// FindKey returns who was submitted last under the key, whether it has ended
// or not, or nil. A run that has been deleted holds no key.
func FindKey(log *eventlog.Log, key string) (*KeyHolder, error) {
	rec, found, err := log.Head(keyStream(key))
	if err != nil {
		return nil, err
	}
	if found && rec.Type == (*KeyTaken)(nil).Type() {
		var e KeyTaken
		if err := json.Unmarshal(rec.Data, &e); err != nil {
			return nil, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
		}
		if h, err := submittedIn(log, Stream(e.Run)); h != nil || err != nil {
			return h, err
		}
	}
	stream, found, err := log.Lookup(key)
	if err != nil || !found {
		return nil, err
	}
	return submittedIn(log, stream)
}

// submittedIn reads a run's first event.
func submittedIn(log *eventlog.Log, stream string) (*KeyHolder, error) {
	for rec, err := range log.ReadStream(stream, 1) {
		if err != nil {
			return nil, err
		}
		if rec.Type == eventlog.StreamDeleted {
			return nil, nil
		}
		var e WorkflowSubmitted
		if err := json.Unmarshal(rec.Data, &e); err != nil {
			return nil, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
		}
		return &KeyHolder{Submitted: e.kept(), At: rec.Time}, nil
	}
	return nil, nil
}

// CheckKey refuses what can't be an idempotency key.
func CheckKey(key string) error {
	for _, ours := range []string{idPrefix, sentPrefix} {
		if strings.HasPrefix(key, ours) {
			return fmt.Errorf("an idempotency key may not begin with %q", ours)
		}
	}
	if most := eventlog.MaxName - len(sentPrefix); len(key) > most {
		return fmt.Errorf("the idempotency key has %d bytes, the limit is %d", len(key), most)
	}
	return nil
}
