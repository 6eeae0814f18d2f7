package protocols

import (
	"strings"
	"unicode/utf8"
)

// Suggest returns "did you mean x?" for the candidate that word is most
// likely a misspelling or a part of, "" if it is like none of them.
func Suggest(word string, candidates []string) string {
	const most = 1000 // candidates looked at
	best, least := "", 1+utf8.RuneCountInString(word)/3
	for _, c := range candidates[:min(most, len(candidates))] {
		if d := distance(strings.ToLower(word), strings.ToLower(c), least); d <= least && d < utf8.RuneCountInString(word) && (best == "" || d < least) {
			best, least = c, d
		}
	}
	for _, c := range candidates[:min(most, len(candidates))] {
		if best == "" && len(word) > 3 && strings.Contains(strings.ToLower(c), strings.ToLower(word)) {
			best = c
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// distance returns the number of letters to add, drop, change or swap with
// their neighbour that make a into b, or more than most as soon as it is more.
func distance(a, b string, most int) int {
	s, t := []rune(a), []rune(b)
	if abs(len(s)-len(t)) > most || len(s) > 200 {
		return most + 1
	}
	older, old, now := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(s); i++ {
		now[0] = i
		for j := 1; j <= len(t); j++ {
			change := old[j-1]
			if s[i-1] != t[j-1] {
				change++
			}
			now[j] = min(change, old[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				now[j] = min(now[j], older[j-2]+1)
			}
		}
		older, old, now = old, now, older
	}
	return old[len(t)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// thereAre says what there is.
func thereAre(words []string) string {
	switch len(words) {
	case 0:
		return "there are none"
	case 1:
		return "there is only " + words[0]
	}
	return "there are " + list(words)
}

// list writes words as "a, b and c", at most twelve of them.
func list(words []string) string {
	const most = 12
	if len(words) > most {
		return strings.Join(words[:most], ", ") + ", …"
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
