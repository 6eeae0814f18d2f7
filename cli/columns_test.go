package cli

import (
	"strings"
	"testing"
	"time"
)

func TestColumns(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "字": 2, "ｆ": 2, "\x1b[31mred\x1b[0m": 3, "🙂": 2, "a\u200bb": 2,
	} {
		if got := columns(text); got != want {
			t.Errorf("columns(%q) = %d, want %d", text, got, want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("some text", 4)
	f.Add("字字字", 3)
	f.Add("e\u0301e\u0301", 1)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if strings.ContainsRune(s, '\x1b') || n < 0 || n > 1000 {
			return // cut is for plain text
		}
		if got := columns(cut(s, n)); got > n {
			t.Errorf("cut(%q, %d) takes %d columns", s, n, got)
		}
		if clean(clean(s)) != clean(s) {
			t.Errorf("clean(%q) isn't clean", s)
		}
	})
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", -time.Second: "0s", 1234567: "1.23ms", 12345678: "12ms", 1234567890: "1.2s", 90 * time.Second: "1m30s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %s, want %s", d, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s ago", 59 * time.Second: "59s ago", time.Minute: "1m ago", 47 * time.Hour: "47h ago", 49 * time.Hour: "2d ago",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
