//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// guarded is an MCP server that wants a login, and the server of that.
type guarded struct {
	url string

	mu       sync.Mutex
	did      []string // what was asked of the login's server
	good     string   // the token that is good now
	lifetime int      // of tokens, in seconds
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{lifetime: 3600}
	server := mcp.NewServer(&mcp.Implementation{Name: "guarded", Version: "1"}, nil)
	addTools(server)
	server.AddTool(&mcp.Tool{Name: "quote", InputSchema: json.RawMessage(`{"type":"object"}`)},
		func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: text("you sent " + r.Extra.Header.Get("Authorization"))}, nil
		})
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/mcp":
			g.login(w, r)
		case r.Header.Get("Authorization") != "Bearer "+g.token():
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`, g.url))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		for session := range server.Sessions() {
			_ = session.Close()
		}
		s.Close()
	})
	g.url = s.URL
	return g
}

func (g *guarded) token() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.good == "" {
		return "nobody has one yet"
	}
	return g.good
}

// took returns what was asked since the last time.
func (g *guarded) took() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.did = nil }()
	return strings.Join(g.did, " ")
}

// login is the authorization server.
func (g *guarded) login(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := map[string]any{}
	switch r.URL.Path {
	case "/.well-known/oauth-protected-resource/mcp":
		answer = map[string]any{"resource": g.url + "/mcp", "authorization_servers": []string{g.url}}
	case "/.well-known/oauth-authorization-server":
		answer = map[string]any{"issuer": g.url, "authorization_endpoint": g.url + "/authorize", "token_endpoint": g.url + "/token",
			"registration_endpoint": g.url + "/register", "response_types_supported": []string{"code"},
			"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none"}}
	case "/register":
		g.did = append(g.did, "register")
		_ = json.NewDecoder(r.Body).Decode(&answer)
		answer["client_id"] = "client-1"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
	case "/authorize":
		g.did = append(g.did, "authorize")
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?code=c0de&state="+r.FormValue("state"), http.StatusFound)
		return
	case "/token":
		g.did = append(g.did, r.FormValue("grant_type"))
		if r.FormValue("grant_type") == "refresh_token" && r.FormValue("refresh_token") != "refresh-"+g.good {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		g.good = fmt.Sprintf("t0ken-%d", time.Now().UnixNano())
		answer = map[string]any{"access_token": g.good, "refresh_token": "refresh-" + g.good, "token_type": "Bearer", "expires_in": g.lifetime}
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// drawer keeps tokens in memory.
type drawer struct {
	mu   sync.Mutex
	kept map[string][]byte
}

func (d *drawer) Load(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept[name], nil
}

func (d *drawer) Save(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[name] = data
	return nil
}

// open opens a set with the guarded server.
func (g *guarded) open(t *testing.T, keep Tokens, person *Login) *Set {
	t.Helper()
	s, err := Open(Config{MCPServers: map[string]MCPServer{"web": {URL: g.url + "/mcp"}}}, Options{Env: os.Getenv, Tokens: keep, Login: person})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMCPLogin(t *testing.T) {
	g, keep := newGuarded(t), &drawer{kept: map[string][]byte{}}
	person := &Login{RedirectURL: "http://127.0.0.1:9/callback", Visit: visitAtOnce}
	const said = `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`

	// Nobody is there: the error says what to do, and nothing is begun.
	_, err := callMCP(t, g.open(t, keep, nil), "web", "mcp/tool.say", `{"text":"x"}`)
	if e := wantError(t, err, protocols.AuthenticationFailed); !strings.Contains(e.Message, "gleitzeit provider login web") {
		t.Errorf("%s", e.Message)
	}
	if did := g.took(); did != "" {
		t.Errorf("it went and did: %s", did)
	}

	s := g.open(t, keep, person)
	if asked, err := s.Login(patience(t, time.Minute), "web"); err != nil || !asked {
		t.Fatal(asked, err)
	}
	if did := g.took(); did != "register authorize authorization_code" {
		t.Errorf("the login did: %s", did)
	}
	wantMCP(t, s, "web", "mcp/tool.say", `{"text":"x"}`, said)

	// What was kept is good for another process, and doesn't show.
	s = g.open(t, keep, nil)
	wantMCP(t, s, "web", "mcp/tool.say", `{"text":"x"}`, said)
	raw, err := callMCP(t, s, "web", "mcp/tool.quote", `{}`)
	if err != nil || !strings.Contains(string(raw), "you sent Bearer ***") || strings.Contains(string(raw), g.token()) {
		t.Errorf("%s, %v", raw, err)
	}
	if did := g.took(); did != "" {
		t.Errorf("with what was kept it did: %s", did)
	}

	// A token that has run out is renewed, and the new one is kept.
	for name, data := range keep.kept {
		var kept keptToken
		if err := json.Unmarshal(data, &kept); err != nil {
			t.Fatal(err)
		}
		kept.Token.Expiry = time.Now().Add(-time.Hour)
		keep.kept[name], _ = json.Marshal(kept)
	}
	for range 2 {
		wantMCP(t, g.open(t, keep, nil), "web", "mcp/tool.say", `{"text":"x"}`, said)
	}
	if did := g.took(); did != "refresh_token" {
		t.Errorf("to renew it did: %s", did)
	}

	// One that can't be renewed is no better than none.
	g.mu.Lock()
	g.good = "other"
	g.mu.Unlock()
	for name, data := range keep.kept {
		var kept keptToken
		_ = json.Unmarshal(data, &kept)
		kept.Token.Expiry = time.Now().Add(-time.Hour)
		keep.kept[name], _ = json.Marshal(kept)
	}
	_, err = callMCP(t, g.open(t, keep, nil), "web", "mcp/tool.say", `{"text":"x"}`)
	wantError(t, err, protocols.AuthenticationFailed)

	// A server that wants no login.
	s = openSet(t, Config{MCPServers: map[string]MCPServer{"open": {URL: httpServer(t, false, nil)}}})
	if asked, err := s.Login(patience(t, time.Minute), "open"); err != nil || asked {
		t.Error(asked, err)
	}
}
