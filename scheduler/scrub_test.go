package scheduler

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// randomSecret has all that escapes mind.
func randomSecret(rng *rand.Rand) string {
	alphabet := []rune("abcXYZ019-_.~+/=&?#%\"'\\<> \n\té…😀ß")
	s := make([]rune, minSecret+rng.IntN(60))
	for i := range s {
		s[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return "k" + strings.ToValidUTF8(string(s), "?") + "k" // no form of it begins or ends with what trimming takes
}

// TestScrubForms writes random secrets in every form amid other text.
func TestScrubForms(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	inJSON := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b[1 : len(b)-1])
	}
	lines := func(s string) string {
		var b strings.Builder
		for i := 0; i < len(s); i += 76 {
			b.WriteString(s[i:min(len(s), i+76)] + "\n")
		}
		return b.String()
	}
	for range 300 {
		secret := randomSecret(rng)
		s := newScrubber([]string{"another", secret})
		before, after := strings.Repeat("\xff", rng.IntN(5)), strings.Repeat("\x00", rng.IntN(5))
		for name, form := range map[string]string{
			"itself": secret, "json": inJSON(secret), "json in json": inJSON(inJSON(secret)), "plain json": quotedJSON(secret),
			"query": url.QueryEscape(secret), "path": url.PathEscape(secret), "html": html.EscapeString(secret),
			"hex": hex.EncodeToString([]byte(secret)), "lower": strings.ToLower(hex.EncodeToString([]byte(secret))),
		} {
			if got := s.text("<" + form + ">"); got != "<***>" {
				t.Fatalf("%q as %s, %q, gives %q", secret, name, form, got)
			}
		}
		for name, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "url": base64.URLEncoding,
			"raw": base64.RawStdEncoding, "raw url": base64.RawURLEncoding} {
			whole := enc.EncodeToString([]byte(before + secret + after))
			for _, form := range []string{whole, lines(whole)} {
				got := s.text(form)
				if left := len(strings.ReplaceAll(got, "\n", "")); !strings.Contains(got, "***") || left > 3+4+(len(before)+len(after)+4)*4/3 {
					t.Fatalf("%q as %s with %d before and %d after, %q, gives %q", secret, name, len(before), len(after), form, got)
				}
			}
		}
	}
}

// TestScrubLines takes out each line of a secret with several.
func TestScrubLines(t *testing.T) {
	s := newScrubber([]string{"-----BEGIN-----\nfirst/line\r\nab\nsecond line\n"})
	if got := s.text("> second line <, ab, first%2Fline"); got != "> *** <, ab, ***" {
		t.Error(got)
	}
}

func TestScrubJSON(t *testing.T) {
	s := newScrubber([]string{"90125", "a\"b\"c", "true"})
	for given, want := range map[string]string{
		`{"n":90125,"m":-90125.5,"k90125":[true,null,"x 90125"],"e":9.0125e4}`: `{"n":"***","m":"***","k***":[true,null,"x ***"],"e":9.0125e4}`,
		` [ "a\"b\"c" , "\u0061\u0022b\u0022c", "\\\"" ] `:                     ` [ "***" , "***", "\\\"" ] `,
		`"nothing of it"`:     `"nothing of it"`,
		`"<&>\u2028 a\"b\"c"`: `"<&>\u2028 ***"`,
	} {
		if got := string(s.json(json.RawMessage(given))); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s gives %s, want %s", given, got, want)
		}
	}
	var none *scrubber
	if got := string(none.json(json.RawMessage(`"90125"`))); got != `"90125"` {
		t.Error(got)
	}
	e := s.error(protocols.Errorf(protocols.TaskTimeout, "no 90125").With(map[string]any{"90125": 90125}))
	if e.Code != protocols.TaskTimeout || e.Message != "no ***" || string(e.Data) != `{"***":"***"}` {
		t.Errorf("%v %s", e, e.Data)
	}
}

// TestScrubCuts takes out what is left of a secret where a text was cut.
func TestScrubCuts(t *testing.T) {
	s := newScrubber([]string{"correct-horse-battery"})
	for given, want := range map[string]string{
		"say correct-ho\n… 10 bytes left out …\norse-battery, yes": "say ***\n… 10 bytes left out …\n***, yes",
		"…battery":       "…***",
		"it is correct…": "it is ***…",
		"it is cor…":     "it is cor…", // too little to say whose it is
		"correct-ho":     "correct-ho", // not cut
		"a … b":          "a … b",
		strings.Repeat("x", liveCut) + "correct-ho": strings.Repeat("x", liveCut) + "***",
	} {
		if got := s.text(given); got != want {
			t.Errorf("%q gives %q, want %q", given, got, want)
		}
	}
}

// TestScrubStream holds back what may become a secret.
func TestScrubStream(t *testing.T) {
	sch := &Scheduler{}
	sch.vault.offer(1, map[string]string{"env:X": "hunter2"})
	shown, cancel := sch.Watch("")
	defer cancel()
	h := &host{s: sch, said: newSaid(sch, job{})}
	defer h.said.end()
	for _, piece := range []string{"the ", "hun", "ter", "2 is", " a hunt", "ed h", "unter"} {
		h.Progress(providers.Progress{Stream: "tokens", Message: piece})
	}
	var got []string
	for range 7 {
		got = append(got, (<-shown).Message)
	}
	if all := strings.Join(got, "|"); all != "the |||*** is| a |hunted |" {
		t.Error(all)
	}
}

// TestVault finds what was offered, to the run or to one that started it, until
// the run ends, and goes on to take it out.
func TestVault(t *testing.T) {
	v := &vault{}
	v.offer(1, map[string]string{"env:A": "alpha", "env:B": "beta"})
	v.offer(2, map[string]string{"env:A": "other"})
	if refs := v.offer(1, map[string]string{"env:A": "gamma"}); fmt.Sprint(refs) != "[env:A env:B]" {
		t.Error(refs)
	}
	find := func(ref string, runs ...uint64) string {
		value, found := v.find(runs, ref)
		return fmt.Sprint(value, " ", found)
	}
	for got, want := range map[string]string{find("env:A", 1): "gamma true", find("env:A", 2, 1): "other true",
		find("env:B", 2, 1): "beta true", find("env:B", 2): " false", find("env:C", 1): " false"} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	v.forget(1)
	if got := find("env:B", 2, 1); got != " false" {
		t.Error(got)
	}
	if got := v.scrubber().text("alpha beta gamma delta other"); got != "*** *** *** delta ***" {
		t.Error(got)
	}
	for i := range maxRetired + 10 {
		v.offer(3, map[string]string{"env:A": fmt.Sprintf("value-%d-", i)})
	}
	if got := v.scrubber().text("alpha value-0- value-200- other"); got != "alpha value-0- *** ***" {
		t.Error(got)
	}
}

func TestCheckSecret(t *testing.T) {
	for value, want := range map[string]bool{"abcd": true, "äöüß": true, "abc": false, "äöü": false, "": false, "ab\x00cd": false,
		"ab\xffcd": false, strings.Repeat("x", maxSecret): true, strings.Repeat("x", maxSecret+1): false} {
		if err := CheckSecret(value); (err == nil) != want || err != nil && len(value) > 3 && bytes.Contains([]byte(err.Error()), []byte(value)) {
			t.Errorf("%q: %v", value, err)
		}
	}
}
