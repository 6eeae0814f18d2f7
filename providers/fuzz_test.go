package providers

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// Every line of a server's stdout goes to one place, whole and in order.
func FuzzMessageLines(f *testing.F) {
	f.Add("{\"a\":1}\nlog\n[info] x\n [{\"b\":2}]\n{\"cut", uint8(3))
	f.Add(strings.Repeat("x", 200)+"\n{\""+strings.Repeat("y", 200)+"\"}\n", uint8(0))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		var stray bytes.Buffer
		lines := &messageLines{
			buffer: bufio.NewReaderSize(strings.NewReader(text), 64), stray: &stray, atStart: true, limit: 1 << 20, long: new(atomic.Bool),
		}
		passed, err := io.ReadAll(iotest.OneByteReader(lines))
		if err != nil {
			t.Fatal(err)
		}
		var wantPassed, wantStray string
		for _, line := range strings.SplitAfter(text, "\n") {
			if messageStart.MatchString(line[:min(len(line), 64)]) {
				wantPassed += line
			} else {
				wantStray += line
			}
		}
		if string(passed) != wantPassed || stray.String() != wantStray {
			t.Errorf("%q: passed %q, stray %q; want %q and %q", text, passed, stray.String(), wantPassed, wantStray)
		}
	})
}

// Whatever comes back on the pipe of the result, only a whole frame that
// begins with the nonce counts.
func FuzzReadOutcome(f *testing.F) {
	const nonce = "0123456789abcdef0123456789abcdef"
	f.Add([]byte(nonce + "000000000000000c{\"result\":1}"))
	f.Add([]byte(nonce + "ffffffffffffffff{}"))
	f.Add([]byte("{\"result\":1}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readOutcome(bytes.NewReader(b), nonce)
		if err == nil && !bytes.HasPrefix(b, []byte(nonce)) {
			t.Errorf("%q was taken for %+v", b, o)
		}
	})
}

// A tool's answer becomes a result or an error, never both or neither.
func FuzzToolResult(f *testing.F) {
	for _, seed := range garbage {
		f.Add(seed)
	}
	f.Add(`{"content":[{"type":"text","text":"1"}],"structuredContent":{"a":1}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		result, err := toolResult("s", "t", []byte(raw))
		if (err == nil) == (result == nil) {
			t.Errorf("%q: %s and %v", raw, result, err)
		}
	})
}
