package cli

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// apart are the commands that have nothing to do with a store or a server.
const apart = "init|validate|fmt|graph|schema|completion|version|__complete|__filters|worker|mcp serve"

// TestCommandsOverServer asks of each command that the scenario server_commands
// shows what it does with --server: its work, or a refusal.
func TestCommandsOverServer(t *testing.T) {
	raw, err := os.ReadFile("../testdata/script/server_commands.txtar")
	if err != nil {
		t.Fatal(err)
	}
	script := string(raw)
	parser := newParser(&grammar{})
	var visit func(path string, node *kong.Node)
	visit = func(path string, node *kong.Node) {
		name := strings.TrimSpace(path + " " + node.Name)
		for _, child := range node.Children {
			visit(name, child)
		}
		if !node.Leaf() || slices.Contains(strings.Split(apart, "|"), name) {
			return
		}
		if !strings.Contains(script, " "+name+" ") && !strings.Contains(script, " "+name+"\n") {
			t.Errorf("gleitzeit %s: what does it do with --server? show it in server_commands.txtar", name)
		}
	}
	for _, child := range parser.Model.Children {
		visit("", child)
	}
}
