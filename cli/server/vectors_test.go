package server_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gleitzeit/eventlog"
)

// vector is one of the examples of the specification of JSON-RPC 2.0.
type vector struct {
	Name, Send string
	Want       any
	Unordered  bool
}

func vectors(t *testing.T) []vector {
	var file struct{ Cases []vector }
	raw, err := os.ReadFile("testdata/jsonrpc/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 15 {
		t.Fatalf("%d examples", len(file.Cases))
	}
	return file.Cases
}

// holdVectors says each example and wants its answer. say returns what came
// back, "" for nothing.
func holdVectors(t *testing.T, say func(v vector) string) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			answer := say(v)
			var got any
			if answer != "" && json.Unmarshal([]byte(answer), &got) != nil {
				t.Fatalf("answered %q", answer)
			}
			if v.Unordered {
				byText(got)
				byText(v.Want)
			}
			if !reflect.DeepEqual(got, v.Want) {
				t.Errorf("%s\ngot  %v\nwant %v", v.Send, got, v.Want)
			}
		})
	}
}

func byText(v any) {
	if list, ok := v.([]any); ok {
		slices.SortFunc(list, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
}

// after is a call that is said after an example without an answer: that the
// answer to it comes first shows that there is none.
const after = `{"jsonrpc":"2.0","id":"after","method":"get_data"}`

func TestVectorsOverLines(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(nil))
	f.srv.TeachForTest()
	pipe := f.srv.Pipe()
	defer pipe.Close()
	r := bufio.NewReader(pipe)
	holdVectors(t, func(v vector) string {
		text := strings.ReplaceAll(v.Send, "\n", " ") + "\n"
		if v.Want == nil {
			text += after + "\n"
		}
		go io.WriteString(pipe, text)
		answer, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(answer, `"after"`) {
			return ""
		}
		return answer
	})
}
