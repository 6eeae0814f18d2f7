package replay

import (
	"encoding/json"
	"fmt"
)

// UnmarshalJSON reads an entry back from its JSON form. The event of a type
// that this program doesn't know (a newer one wrote it) is nil; the rest of
// the entry is there.
func (e *Entry) UnmarshalJSON(data []byte) error {
	type plain Entry
	raw := struct {
		*plain
		Event json.RawMessage `json:"event"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	e.Event = nil
	fresh, known := table[e.Type]
	if !known || len(raw.Event) == 0 {
		return nil
	}
	event := fresh()
	if err := json.Unmarshal(raw.Event, event); err != nil {
		return fmt.Errorf("entry %d (%s): %w", e.Seq, e.Type, err)
	}
	e.Event = event
	return nil
}
