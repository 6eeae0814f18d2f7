package scheduler

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"gleitzeit/protocols"
)

// This file takes secrets out of what comes back from a call, in the forms
// that programs and servers give them when they quote what they were sent:
//
//	as they are, and each line of those that have several
//	base64, standard and for URLs, whole or amid other bytes; hexadecimal
//	escaped for URLs, JSON, HTML, and as Python's repr does it
//	cut off where a text was made shorter ("…")
//
// What a program computes from a secret in any other way is its own affair.

// scrubbed stands for a secret.
const scrubbed = "***"

// minSecret is the fewest characters of a secret: a shorter one could not be
// taken out of a text without taking the text apart.
const minSecret = 4

// liveCut is the length from which on a text may have been cut off at its end.
const liveCut = 4 << 10

// scrubber takes secrets out of texts. nil takes out nothing.
type scrubber struct {
	forms    []string // the longest first
	based    []string // those of them that lines may divide
	replacer *strings.Replacer
}

// newScrubber returns one for these secrets, nil if there are none.
func newScrubber(secrets []string) *scrubber {
	var all, inLines []string
	for _, s := range secrets {
		all = append(all, forms(s)...)
		inLines = append(inLines, based(s)...)
	}
	if len(all) == 0 {
		return nil
	}
	all, inLines = longestFirst(append(all, inLines...)), longestFirst(inLines)
	pairs := make([]string, 0, 2*len(all))
	for _, form := range all {
		pairs = append(pairs, form, scrubbed)
	}
	return &scrubber{all, inLines, strings.NewReplacer(pairs...)}
}

// longestFirst returns the texts in that order, each once, without those that
// are too short.
func longestFirst(all []string) []string {
	all = slices.DeleteFunc(all, func(s string) bool { return utf8.RuneCountInString(s) < minSecret })
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(all)
}

// forms returns the texts in which a secret may show up.
func forms(secret string) (all []string) {
	whole := []string{secret}
	if lines := strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		whole = append(whole, lines...)
	}
	for _, s := range whole {
		all = append(all, s)
		all = append(all, escaped(s)...)
	}
	digits := hex.EncodeToString([]byte(secret))
	return append(all, digits, strings.ToUpper(digits))
}

// based returns the secret in base64: alone, and what is left of it whatever
// comes before and after it.
func based(secret string) (all []string) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		text := enc.EncodeToString([]byte(secret))
		all = append(all, text)
		for before := range 3 {
			bits := 8 * (before + len(secret))
			shifted := enc.EncodeToString(append(make([]byte, before), secret...))
			all = append(all, shifted[(8*before+5)/6:bits/6])
		}
	}
	return all
}

// escaped returns the secret as it stands in other texts.
func escaped(s string) (all []string) {
	for _, inJSON := range []string{quotedJSON(s), escapedHTML(s), ascii(quotedJSON(s)), ascii(escapedHTML(s))} {
		all = append(all, inJSON, quotedJSON(inJSON), strings.ReplaceAll(inJSON, "/", `\/`))
	}
	repr := strings.ReplaceAll(quotedJSON(s), `\"`, `"`)
	all = append(all, repr, strings.ReplaceAll(repr, "'", `\'`))
	inHTML := html.EscapeString(s)
	all = append(all, inHTML, strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#x27;").Replace(inHTML))
	all = append(all, url.QueryEscape(s), url.PathEscape(s))
	for _, safe := range []string{"-_.~", "-_.~/", "-_.!~*'()"} {
		for _, upper := range []bool{true, false} {
			all = append(all, percent(s, safe, upper), strings.ReplaceAll(percent(s, safe+" ", upper), " ", "+"))
		}
	}
	return all
}

// quotedJSON is the inside of a JSON string.
func quotedJSON(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return s
	}
	return b.String()[1 : b.Len()-2]
}

// escapedHTML is the inside of a JSON string that is safe in HTML.
func escapedHTML(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(b[1 : len(b)-1])
}

// ascii writes all other characters as \u and four digits, as JSON allows.
func ascii(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(digits[u>>shift&15])
			}
		}
	}
	return b.String()
}

// percent escapes all but letters, digits and what is safe, as URLs do it.
func percent(s, safe string, upper bool) string {
	digits := "0123456789abcdef"
	if upper {
		digits = "0123456789ABCDEF"
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

// text is the text without secrets.
func (s *scrubber) text(text string) string {
	if s == nil {
		return text
	}
	return s.ends(s.joined(s.replacer.Replace(text)))
}

// joined takes out what the lines of a text have between them: base64 is often
// written in lines.
func (s *scrubber) joined(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	whole := unwrap.Replace(text)
	for _, form := range s.based {
		for i := strings.Index(whole, form); i >= 0; i = strings.Index(whole, form) {
			text = text[:place(text, i)] + scrubbed + text[place(text, i+len(form)-1)+1:]
			whole = unwrap.Replace(text)
		}
	}
	return text
}

// unwrap makes one line of a text.
var unwrap = strings.NewReplacer("\n", "", "\r", "")

// place is where in the text its nth byte is that ends no line.
func place(text string, n int) int {
	for i := range len(text) {
		if text[i] == '\n' || text[i] == '\r' {
			continue
		}
		if n--; n < 0 {
			return i
		}
	}
	return len(text) - 1
}

// ends takes out what is left of secrets where a text was cut.
func (s *scrubber) ends(text string) string {
	const cut = "…"
	parts := strings.Split(text, cut)
	for i, part := range parts {
		if i > 0 || len(text) >= liveCut {
			part = s.beginning(part)
		}
		if i < len(parts)-1 || len(text) >= liveCut {
			part = s.ending(part)
		}
		parts[i] = part
	}
	return strings.Join(parts, cut)
}

// ending takes the beginning of a secret off a text's end.
func (s *scrubber) ending(text string) string {
	body := strings.TrimSuffix(text, "\n")
	longest := 0
	for _, form := range s.forms {
		longest = max(longest, overlap(body, form, minSecret))
	}
	if longest == 0 {
		return text
	}
	return body[:len(body)-longest] + scrubbed + text[len(body):]
}

// beginning takes the end of a secret off a text's beginning.
func (s *scrubber) beginning(text string) string {
	body := strings.TrimPrefix(text, "\n")
	longest := 0
	for _, form := range s.forms {
		for n := min(len(form)-1, len(body)); n >= max(minSecret, longest+1); n-- {
			if strings.HasPrefix(body, form[len(form)-n:]) {
				longest = n
			}
		}
	}
	if longest == 0 {
		return text
	}
	return text[:len(text)-len(body)] + scrubbed + body[longest:]
}

// overlap is how many bytes at the end of the text, at least least, are the
// beginning of the form and not all of it.
func overlap(text, form string, least int) int {
	for n := min(len(form)-1, len(text)); n >= least; n-- {
		if strings.HasSuffix(text, form[:n]) {
			return n
		}
	}
	return 0
}

// hold returns how much of a stream's end may be the beginning of a secret.
func (s *scrubber) hold(text string) (longest int) {
	if s == nil {
		return 0
	}
	for _, form := range s.forms {
		longest = max(longest, overlap(text, form, 1))
	}
	return longest
}

// json is the JSON value without secrets: of texts and keys what is in them, a
// number that has one as a whole.
func (s *scrubber) json(raw json.RawMessage) json.RawMessage {
	if s == nil {
		return raw
	}
	var out []byte
	kept := 0 // all before is in out, or nothing has changed
	replace := func(from, to int, text string) {
		out = append(append(out, raw[kept:from]...), '"')
		out = append(append(out, quotedJSON(text)...), '"')
		kept = to
	}
	for i := 0; i < len(raw); {
		end := token(raw, i)
		word := raw[i:end]
		switch c := raw[i]; {
		case c == '"':
			var text string
			if json.Unmarshal(word, &text) == nil {
				if clean := s.text(text); clean != text {
					replace(i, end, clean)
				}
			}
		case c == '-' || c >= '0' && c <= '9':
			if s.replacer.Replace(string(word)) != string(word) {
				replace(i, end, scrubbed)
			}
		}
		i = end
	}
	if kept == 0 {
		return raw
	}
	return append(out, raw[kept:]...)
}

// token returns the end of the string or number at i of valid JSON, or of
// whatever else is there, byte by byte.
func token(raw []byte, i int) int {
	switch c := raw[i]; {
	case c == '"':
		for i++; i < len(raw) && raw[i] != '"'; i++ {
			if raw[i] == '\\' {
				i++
			}
		}
	case c == '-' || c >= '0' && c <= '9':
		for i+1 < len(raw) && strings.IndexByte("+-.0123456789Ee", raw[i+1]) >= 0 {
			i++
		}
	}
	return min(i+1, len(raw))
}

// error is the error without secrets.
func (s *scrubber) error(e *protocols.Error) *protocols.Error {
	if s == nil || e == nil {
		return e
	}
	clean := &protocols.Error{Code: e.Code, Message: s.text(e.Message), Data: e.Data}
	if json.Valid(e.Data) {
		clean.Data = s.json(e.Data)
	}
	return clean
}
