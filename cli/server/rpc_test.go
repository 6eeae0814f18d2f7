package server_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
)

var update = flag.Bool("update", false, "write what was said into testdata/rpc")

// TestTranscripts holds the conversations of testdata/rpc: what a client says
// (>) and what comes back (<), byte for byte but for what differs each time.
// Comments (#) stay. After a log/follow all is read up to its log/end.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/rpc/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
			pipe := f.srv.Pipe()
			defer pipe.Close()
			got := converse(t, pipe, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

// converse says what the script says, and returns the script with what came
// back.
func converse(t *testing.T, conn net.Conn, script string) string {
	r := bufio.NewReader(conn)
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "<") {
			continue
		}
		out.WriteString(line)
		said, ok := strings.CutPrefix(line, "> ")
		if !ok {
			continue
		}
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
		for _, answer := range answers(t, r, said) {
			fmt.Fprintf(&out, "< %s", scrub(answer))
		}
	}
	return out.String()
}

// answers reads all that a line leads to.
func answers(t *testing.T, r *bufio.Reader, said string) (lines []string) {
	var asked struct {
		Method string
		ID     any
	}
	if err := json.Unmarshal([]byte(said), &asked); err != nil {
		t.Fatalf("%s: %v", said, err)
	}
	if asked.ID == nil {
		return nil
	}
	last := ""
	if asked.Method == server.LogFollow {
		last = server.LogEnd
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
		var got struct {
			Method string
			Error  any
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got.Method == last || got.Error != nil {
			return lines
		}
	}
}

// scrubs is what no two conversations have in common.
var scrubs = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*Z"`), `"TIME"`},
	{regexp.MustCompile(`"(duration|delay)":"[^"]*"`), `"$1":"DURATION"`},
	{regexp.MustCompile(`"(duration_ms|pid|value_bytes|disk_bytes|ValueBytes)":\d+`), `"$1":0`},
	{regexp.MustCompile(`completed in [0-9.]+[a-zµ]+`), "completed in DURATION"},
	{regexp.MustCompile(`"id":"[a-z2-7]{26}"`), `"id":"STORE"`},
}

func scrub(line string) string {
	for _, s := range scrubs {
		line = s.what.ReplaceAllString(line, s.with)
	}
	return line
}
