package cli

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestGlob(t *testing.T) {
	tree := fstest.MapFS{}
	for _, name := range []string{"a.txt", "b.md", ".hidden.txt", "x/a.txt", "x/y/a.txt", "x/.git/a.txt", "z/b.txt"} {
		tree[name] = &fstest.MapFile{}
	}
	for pattern, want := range map[string]string{
		"*":         "a.txt b.md",
		"*.txt":     "a.txt",
		".*":        ".hidden.txt",
		"*/*.txt":   "x/a.txt z/b.txt",
		"**":        "a.txt b.md x/a.txt x/y/a.txt z/b.txt",
		"**/*.txt":  "a.txt x/a.txt x/y/a.txt z/b.txt",
		"x/**/a*":   "x/a.txt x/y/a.txt",
		"**/y/*":    "x/y/a.txt",
		"x/.git/*":  "x/.git/a.txt",
		"[ab].*":    "a.txt b.md",
		"nothing/*": "",
	} {
		found, err := glob(tree, ".", strings.Split(pattern, "/"))
		slices.Sort(found)
		if got := strings.Join(slices.Compact(found), " "); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", pattern, got, err, want)
		}
	}
}
