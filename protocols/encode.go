package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// Encode returns the workflow's canonical JSON form: the same workflow always
// gives the same bytes.
func (w *Workflow) Encode() []byte {
	b, err := marshal(w)
	if err != nil {
		panic(fmt.Sprintf("encode workflow %s: %v", w.Name, err))
	}
	return b
}

// Equal tells whether two workflows have the same canonical form.
func (w *Workflow) Equal(other *Workflow) bool {
	if w == nil || other == nil {
		return w == other
	}
	return bytes.Equal(w.Encode(), other.Encode())
}

// Decode reads what Encode wrote. It refuses versions that it doesn't know,
// and what no Compile can have made.
func Decode(data []byte) (*Workflow, error) {
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("decode workflow: %w", err)
	}
	if version.Version != DocumentVersion {
		return nil, fmt.Errorf("decode workflow: version %d is not supported, only %d", version.Version, DocumentVersion)
	}
	w := &Workflow{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(w); err != nil {
		return nil, fmt.Errorf("decode workflow: %w", err)
	}
	for i, t := range w.Tasks {
		if err := w.checkTask(t); err != nil {
			return nil, fmt.Errorf("decode workflow: task %d: %w", i, err)
		}
	}
	return w, nil
}

func (w *Workflow) checkTask(t *Task) error {
	if t == nil {
		return fmt.Errorf("there is none")
	}
	if kindOf(t.Parameters) != mapKind {
		return fmt.Errorf("parameters are not an object")
	}
	outside := func(i int) bool { return i < 0 || i >= len(w.Tasks) }
	for _, of := range t.indexes() {
		if slices.ContainsFunc(of, outside) {
			return fmt.Errorf("it depends on a task that isn't there")
		}
	}
	if f := t.Foreach; f != nil && (!json.Valid(f.Items) || f.As == "") {
		return fmt.Errorf("its foreach has no items or no name for one")
	}
	if err := w.checkAgent(t); err != nil {
		return err
	}
	if !slices.Contains(hookOrder, t.Hook) {
		return fmt.Errorf("there is no hook %s", quoted(string(t.Hook)))
	}
	return nil
}

// indexes returns every list of tasks' indexes that t has.
func (t *Task) indexes() [][]int {
	all := [][]int{t.Dependencies, t.References}
	if t.If != nil {
		all = append(all, t.If.References)
	}
	if t.Foreach != nil {
		all = append(all, t.Foreach.References)
	}
	if t.Repeat != nil {
		all = append(all, t.Repeat.Until.References)
	}
	return all
}

// marshal writes JSON that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// sameJSON tells whether two JSON values are equal.
func sameJSON(a, b json.RawMessage) bool {
	if kindOf(a) != kindOf(b) {
		return false
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return bytes.Equal(a, b)
	}
	return jsonschema.Equal(x, y)
}
