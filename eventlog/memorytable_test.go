package eventlog

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMemoryTable holds a table to a sorted list, while keys come and go, and a
// clone of it to what it was.
func TestMemoryTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringOfN(rapid.SampledFrom([]rune("ab\U0010ffff")), 0, 4, -1)
		tab, model := newTable[string, int](strings.Compare), map[string]int{}
		old, then := tab.clone(), map[string]int{}
		for i := range rapid.IntRange(0, 200).Draw(t, "moves") {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "move") {
			case 0, 1, 2:
				tab.delete(k)
				delete(model, k)
			case 3:
				old, then = tab.clone(), maps.Clone(model)
			default:
				tab.set(k, i)
				model[k] = i
			}
		}
		for _, c := range []struct {
			table *table[string, int]
			model map[string]int
		}{{tab, model}, {old, then}} {
			if !maps.Equal(c.table.rows, c.model) {
				t.Fatalf("the table has %v, want %v", c.table.rows, c.model)
			}
			lists(t, c.table, slices.Sorted(maps.Keys(c.model)), key.Draw(t, "prefix"), key.Draw(t, "after"))
		}
	})
}

// lists compares what the table lists with what the sorted names say.
func lists(t *rapid.T, tab *table[string, int], names []string, prefix, after string) {
	var up, down, past []string
	for _, name := range names {
		if strings.HasPrefix(name, prefix) && (after == "" || name > after) {
			up = append(up, name)
		}
		if strings.HasPrefix(name, prefix) && (after == "" || name < after) {
			down = append(down, name)
		}
		if name > after && len(past) < 3 {
			past = append(past, name)
		}
	}
	slices.Reverse(down)
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"ascending", slices.Collect(ascending(tab.keys, prefix, after)), up},
		{"descending", slices.Collect(descending(tab.keys, prefix, after)), down},
		{"beyond", slices.Collect(tab.beyond(after, 3)), past},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Fatalf("%s with prefix %q after %q: %q, want %q", c.what, prefix, after, c.got, c.want)
		}
	}
}
