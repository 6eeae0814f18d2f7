//go:build unix

package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gleitzeit/cli/server/servertest"
)

// A store whose path is too long for a socket works all the same.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 25), "store")
	first := open(t, onDisk(dir, &servertest.Fake{}))
	second := open(t, onDisk(dir, &servertest.Fake{}))
	if second.Holder() {
		t.Fatal("two holders")
	}
	id := submit(t, second, servertest.Chain("far", servertest.Work{}))
	checkOnce(t, follow(t, second, id), 1)
	pointer, err := os.ReadFile(filepath.Join(dir, "socket.path"))
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(string(pointer))
	first.Close(soon(t))
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", home, err)
	}
}
