package protocols

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file walks in JSON text without decoding it: a value of many megabytes
// is looked into for one member, and its numbers keep all their digits. All
// of it takes valid JSON for granted; on anything else it returns nonsense,
// but it returns.

// kindOf returns the type of the value that raw begins with.
func kindOf(raw []byte) kind {
	i := skipSpace(raw, 0)
	if i >= len(raw) {
		return nullKind
	}
	switch raw[i] {
	case '{':
		return mapKind
	case '[':
		return listKind
	case '"':
		return stringKind
	case 't', 'f':
		return boolKind
	case 'n':
		return nullKind
	}
	return numberKind
}

// eachMember calls f with every member of the object raw until f returns
// false. The key is as written, with quotes.
func eachMember(raw []byte, f func(key, value json.RawMessage) bool) {
	i := skipSpace(raw, 0) + 1
	for {
		i = skipSpace(raw, i)
		if i >= len(raw) || raw[i] != '"' {
			return
		}
		keyEnd := skipString(raw, i)
		key := raw[i:keyEnd]
		i = skipSpace(raw, keyEnd) + 1 // the colon
		i = skipSpace(raw, min(i, len(raw)))
		end := skipValue(raw, i)
		if end <= i || !f(key, raw[i:end:end]) {
			return
		}
		i = skipSpace(raw, end) + 1 // the comma
	}
}

// eachItem calls f with every item of the array raw until f returns false.
func eachItem(raw []byte, f func(item json.RawMessage) bool) {
	i := skipSpace(raw, 0) + 1
	for {
		i = skipSpace(raw, i)
		if i >= len(raw) || raw[i] == ']' {
			return
		}
		end := skipValue(raw, i)
		if end <= i || !f(raw[i:end:end]) {
			return
		}
		i = skipSpace(raw, end) + 1
	}
}

// rawMember returns the value under key in the object raw; as elsewhere, the
// last of equal keys counts.
func rawMember(raw []byte, key string) (value json.RawMessage, found bool) {
	if kindOf(raw) != mapKind {
		return nil, false
	}
	eachMember(raw, func(k, v json.RawMessage) bool {
		if sameString(k, key) {
			value, found = v, true
		}
		return true
	})
	return value, found
}

// rawItem returns an item of the array raw; a negative index counts from the end.
func rawItem(raw []byte, index int) (item json.RawMessage, found bool) {
	if kindOf(raw) != listKind {
		return nil, false
	}
	if index < 0 {
		index += rawLen(raw)
	}
	if index < 0 {
		return nil, false
	}
	at := 0
	eachItem(raw, func(v json.RawMessage) bool {
		if at == index {
			item, found = v, true
		}
		at++
		return !found
	})
	return item, found
}

// rawLen returns the number of items of the array raw.
func rawLen(raw []byte) int {
	n := 0
	eachItem(raw, func(json.RawMessage) bool { n++; return true })
	return n
}

// rawKeys returns the keys of the object raw, at most max of them.
func rawKeys(raw []byte, max int) []string {
	var keys []string
	eachMember(raw, func(k, _ json.RawMessage) bool {
		keys = append(keys, rawText(k))
		return len(keys) < max
	})
	return keys
}

// rawText returns the text of the JSON string raw.
func rawText(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' || c >= utf8.RuneSelf {
			var s string
			_ = json.Unmarshal(raw, &s)
			return s
		}
	}
	return string(inner)
}

func sameString(raw []byte, s string) bool {
	if len(raw) >= 2 && string(raw[1:len(raw)-1]) == s && !strings.Contains(s, `\`) {
		return true
	}
	for _, c := range raw {
		if c == '\\' {
			return rawText(raw) == s
		}
	}
	return false
}

func skipSpace[T ~string | ~[]byte](raw T, i int) int {
	for i < len(raw) {
		switch raw[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// skipString returns the index after the string that begins at i.
func skipString[T ~string | ~[]byte](raw T, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// skipValue returns the index after the value that begins at i.
func skipValue[T ~string | ~[]byte](raw T, i int) int {
	depth := 0
	for i < len(raw) {
		switch raw[i] {
		case '"':
			i = skipString(raw, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
			continue
		default:
			i = skipWord(raw, i)
		}
		if depth <= 0 {
			return min(i, len(raw))
		}
	}
	return len(raw)
}

// skipWord returns the index after a number, true, false or null.
func skipWord[T ~string | ~[]byte](raw T, i int) int {
	for i < len(raw) {
		switch raw[i] {
		case ',', ':', '}', ']', '{', '[', '"', ' ', '\t', '\n', '\r':
			return i
		}
		i++
	}
	return i
}

// arrayIndex reads s as an index into a list of n items, negative from the end.
func arrayIndex(s string, n int) (int, bool) {
	i, err := strconv.Atoi(s)
	if err != nil {
		return 0, false
	}
	if i < 0 {
		i += n
	}
	return i, i >= 0 && i < n
}

const hex = "0123456789abcdef"

// appendString appends s as a JSON string. Unlike encoding/json it leaves
// <, > and & as they are; what isn't UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendInside(b, s)
	return append(b, '"')
}

// appendInside appends s as it stands between the quotes of a JSON string.
func appendInside(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, c)
		i++
		start = i
	}
	return append(b, s[start:]...)
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
