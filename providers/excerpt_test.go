package providers

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestExcerpt(t *testing.T) {
	tests := []struct {
		first, last int
		writes      []string
		want        string
		missing     int64
	}{
		{4, 4, nil, "", 0},
		{4, 4, []string{"ab", "cd"}, "abcd", 0},
		{4, 4, []string{"abcdefgh"}, "abcdefgh", 0},
		{4, 4, []string{"abcde", "fghi"}, "abcd\n… 1 bytes left out …\nfghi", 1},
		{4, 4, []string{"a", "bcdefghijklmnopqrstuvwxyz"}, "abcd\n… 18 bytes left out …\nwxyz", 18},
		{0, 3, []string{"abc", "d", "e", "fghijk", "l"}, "… 9 bytes left out …\njkl", 9},
		{0, 3, []string{strings.Repeat("x", 100), "abc"}, "… 100 bytes left out …\nabc", 100},
		{9, 9, []string{"\xff\x00a"}, "\ufffd\x00a", 0},
	}
	for _, test := range tests {
		e := excerpt{First: test.first, Last: test.last}
		for _, w := range test.writes {
			if n, err := e.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("Write(%q) = %d, %v", w, n, err)
			}
		}
		if got := e.String(); got != test.want || e.Missing() != test.missing {
			t.Errorf("%q: %q, %d missing; want %q, %d", test.writes, got, e.Missing(), test.want, test.missing)
		}
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add("hello, world", uint8(3), uint8(4), uint8(5))
	f.Fuzz(func(t *testing.T, text string, first, last, step uint8) {
		e := excerpt{First: int(first), Last: int(last)}
		for rest := text; rest != ""; {
			n := min(int(step)+1, len(rest))
			_, _ = e.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if want := max(len(text)-int(first)-int(last), 0); e.Missing() != int64(want) {
			t.Errorf("%d missing, want %d", e.Missing(), want)
		}
		got := e.String()
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		if e.Missing() == 0 && got != strings.ToValidUTF8(text, "\ufffd") {
			t.Errorf("%q became %q", text, got)
		}
	})
}
