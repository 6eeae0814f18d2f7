package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
)

// makeToken makes a token of a role, which is its name, too.
func makeToken(t *testing.T, tokens *server.Tokens, role server.Role) string {
	t.Helper()
	secret, err := tokens.Create(server.Token{Name: string(role), Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// visited says whom MCP was served for.
type visited struct{ names []string }

func (v *visited) ServeMCP(_ http.ResponseWriter, _ *http.Request, who *server.Visitor) {
	v.names = append(v.names, who.Name())
}

func (*visited) Watch(<-chan struct{}) {}

// A worker finds no tools at /mcp, not even their names.
func TestWorkerHasNoTools(t *testing.T) {
	tokens, desk := server.NewTokens(t.TempDir()), &visited{}
	far, reader := makeToken(t, tokens, server.Worker), makeToken(t, tokens, server.Read)
	w := listenWith(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}), func(o *server.HTTPOptions) {
		o.Tokens, o.TokenRequired, o.MCP = tokens, true, desk
	})
	if status, answer := w.do("POST", "/mcp", `{}`, "Authorization: Bearer "+far); status != http.StatusForbidden || !strings.Contains(answer, "/mcp needs the role read") {
		t.Errorf("%d %s", status, answer)
	}
	if status, _ := w.do("POST", "/mcp", `{}`, "Authorization: Bearer "+reader); status != http.StatusOK || fmt.Sprint(desk.names) != "[token read]" {
		t.Errorf("%d %v", status, desk.names)
	}
}
