package eventlog

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"strings"

	"github.com/google/btree"
)

// This file is the table of the log in memory: a map, and beside it a tree of
// its keys, so that to list some of them costs no more when there are many, and
// to delete one doesn't either.

type table[K comparable, V any] struct {
	rows map[K]V
	keys *btree.BTreeG[K] // those of rows
}

// treeDegree makes nodes of up to 63 keys.
const treeDegree = 32

func newTable[K comparable, V any](compare func(a, b K) int) *table[K, V] {
	less := func(a, b K) bool { return compare(a, b) < 0 }
	return &table[K, V]{rows: make(map[K]V), keys: btree.NewG(treeDegree, less)}
}

func (t *table[K, V]) clone() *table[K, V] {
	return &table[K, V]{rows: maps.Clone(t.rows), keys: t.keys.Clone()}
}

func (t *table[K, V]) set(k K, v V) {
	if _, ok := t.rows[k]; !ok {
		t.keys.ReplaceOrInsert(k)
	}
	t.rows[k] = v
}

func (t *table[K, V]) delete(k K) {
	delete(t.rows, k)
	t.keys.Delete(k)
}

// beyond gives up to limit keys greater than k, in order.
func (t *table[K, V]) beyond(k K, limit int) iter.Seq[K] {
	return func(yield func(K) bool) {
		given := 0
		t.keys.AscendGreaterOrEqual(k, func(key K) bool {
			if key == k {
				return true
			}
			given++
			return given <= limit && yield(key)
		})
	}
}

// ascending gives the names in order that begin with prefix and, unless after is
// empty, lie beyond it.
func ascending(names *btree.BTreeG[string], prefix, after string) iter.Seq[string] {
	return func(yield func(string) bool) {
		names.AscendGreaterOrEqual(max(prefix, after), func(name string) bool {
			if name == after && after != "" {
				return true
			}
			return strings.HasPrefix(name, prefix) && yield(name)
		})
	}
}

// descending does so in the reverse order, in which what is beyond after comes
// before it.
func descending(names *btree.BTreeG[string], prefix, after string) iter.Seq[string] {
	return func(yield func(string) bool) {
		visit := func(name string) bool {
			switch {
			case strings.HasPrefix(name, prefix):
				return name == after && after != "" || yield(name)
			default:
				return name > prefix // those that begin with it are still to come
			}
		}
		end := string(prefixEnd([]byte(prefix)))
		if after != "" && (end == "" || after < end) {
			end = after
		}
		if end == "" {
			names.Descend(visit)
		} else {
			names.DescendLessOrEqual(end, visit)
		}
	}
}

func compareHashes(a, b Hash) int { return bytes.Compare(a[:], b[:]) }

func compareUses(a, b use) int {
	return cmp.Or(compareHashes(a.hash, b.hash), strings.Compare(a.stream, b.stream))
}
