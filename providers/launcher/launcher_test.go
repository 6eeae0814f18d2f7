package launcher

import (
	"reflect"
	"testing"
)

// What a box says arrives.
func TestBoxArrives(t *testing.T) {
	box := Box{Limits: map[string]int64{"AS": 1 << 40, "CPU": 5}, Nice: 5, Landlock: 13, Filter: []byte("\x00\xff,\"x\n"), Listen: true, Seccomp: 317}
	args := Arguments(box, "3", 4, "/bin/echo", []string{"-n", "x"})
	if want := []string{command, "3", "4"}; !reflect.DeepEqual(args[:3], want) || !reflect.DeepEqual(args[5:], []string{"/bin/echo", "-n", "x"}) {
		t.Errorf("arguments %q", args)
	}
	if got, err := boxOf(args[3], args[4]); err != nil || !reflect.DeepEqual(got, box) {
		t.Errorf("%+v, %v, want %+v", got, err, box)
	}
	for _, wrong := range [][2]string{{"", `""`}, {"0,0,false,", `""`}, {"0,0,false,0,AS,", `""`}, {"0,0,false,0,AS,x,", `""`}, {"0,0,false,0,", "x"}, {"x,0,false,0,", `""`}} {
		if b, err := boxOf(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q: %+v", wrong, b)
		}
	}
}

// A failure arrives, and silence means that the program has begun.
func TestFailureArrives(t *testing.T) {
	for said, want := range map[string]*Failure{
		"": nil, "something": nil, tellsProgram + "why": {Program: true, Text: "why"}, tellsBox + "why": {Text: "why"},
	} {
		if got := Heard(said); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", said, got, want)
		}
	}
}
