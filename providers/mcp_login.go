package providers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gleitzeit/protocols"
)

// This file logs in to MCP servers that want it (OAuth 2.1). A person does so
// once, in a browser; the tokens are kept, and renewed while that goes.

// MCPOAuth is what a server's login needs to know beforehand, which is nothing
// with servers that register their clients themselves.
type MCPOAuth struct {
	ClientID     string `json:"client_id,omitempty" yaml:"client_id"`
	ClientSecret string `json:"client_secret,omitempty" yaml:"client_secret"`
	// ClientMetadata is the address of a document about the client, which some
	// servers take instead of a registration.
	ClientMetadata string   `json:"client_metadata,omitempty" yaml:"client_metadata"`
	Scopes         []string `json:"scopes,omitempty" yaml:"scopes"`               // instead of those that the server names
	RedirectPort   int      `json:"redirect_port,omitempty" yaml:"redirect_port"` // of this machine, that the server leads back to; 0: any
}

// WithSecret is a copy whose client secret, if there is one, is what f makes of
// it.
func (o *MCPOAuth) WithSecret(f func(string) string) *MCPOAuth {
	if o == nil || o.ClientSecret == "" {
		return o
	}
	other := *o
	other.ClientSecret = f(o.ClientSecret)
	return &other
}

// Login is a person who can be sent to a web page.
type Login struct {
	// RedirectURL is where the page leads back to.
	RedirectURL string
	// Visit has the person visit the address, and returns the one that they
	// were led back to.
	Visit func(ctx context.Context, address string) (*url.URL, error)
}

// Tokens keeps what logins give, which is secret, by name.
type Tokens interface {
	Load(name string) ([]byte, error) // nil: nothing of that name
	Save(name string, data []byte) error
}

// TokenName is the name under which the tokens of an MCP server are kept: they
// are good for its address, however it is called.
func (m MCPServer) TokenName() string {
	u, err := url.Parse(m.URL)
	if err != nil {
		return ""
	}
	id := ""
	if m.OAuth != nil {
		id = m.OAuth.ClientID
	}
	return fmt.Sprintf("%s-%x", strings.ReplaceAll(u.Host, ":", "-"), sha256.Sum256([]byte(u.Scheme+"://"+u.Host+u.Path+"\n"+id)))[:len(u.Host)+1+16]
}

// errLogin is the reason why a request wasn't made again.
var errLogin = errors.New("nobody is there to log in")

// mcpLogin does what the SDK asks for when a server refuses a request.
type mcpLogin struct {
	*auth.AuthorizationCodeHandler
	person bool
}

// Authorize logs in, if there is a person.
func (l *mcpLogin) Authorize(ctx context.Context, req *http.Request, resp *http.Response) error {
	if !l.person {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		resp.Body.Close()
		return errLogin
	}
	return l.AuthorizationCodeHandler.Authorize(ctx, req, resp)
}

// newLogin makes the handler of a server's logins, nil for one whose headers
// say already who we are.
func (s *mcpServer) newLogin() (*mcpLogin, error) {
	for name := range s.config.Headers {
		if strings.EqualFold(name, "Authorization") {
			return nil, nil
		}
	}
	o := MCPOAuth{}
	if s.config.OAuth != nil {
		o = *s.config.OAuth
	}
	person := Login{RedirectURL: "http://127.0.0.1/callback"}
	if s.person != nil {
		person = *s.person
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		Proxy: proxyFrom(s.env), DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	s.tokens = &tokenSource{name: s.config.TokenName(), secret: o.ClientSecret, store: s.keeper, client: client}
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: person.RedirectURL, RequestRefreshToken: true, AcceptUnadvertisedIss: true, Client: client,
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "gleitzeit", RedirectURIs: []string{person.RedirectURL}, GrantTypes: []string{"authorization_code", "refresh_token"},
		}},
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			back, err := person.Visit(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			return authorized(back.Query())
		},
		NewTokenSource: func(_ context.Context, c *oauth2.Config, t *oauth2.Token) (oauth2.TokenSource, error) {
			return s.tokens, s.tokens.begin(c, t)
		},
	}
	if o.ClientMetadata != "" {
		config.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: o.ClientMetadata}
	}
	if o.ClientID != "" {
		config.PreregisteredClient = &oauthex.ClientCredentials{ClientID: o.ClientID}
		if o.ClientSecret != "" {
			config.PreregisteredClient.ClientSecretAuth = &oauthex.ClientSecretAuth{ClientSecret: o.ClientSecret}
		}
	}
	if len(o.Scopes) > 0 {
		config.ScopeFilter = func([]string) []string { return o.Scopes }
	}
	if !s.afresh && s.tokens.load() {
		config.InitialTokenSource = s.tokens
	}
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		return nil, protocols.Errorf(protocols.ConfigurationError, "MCP server %s: oauth: %v", s.name, err)
	}
	return &mcpLogin{handler, s.person != nil}, nil
}

// authorized reads the address that a person was led back to.
func authorized(q url.Values) (*auth.AuthorizationResult, error) {
	if q.Get("error") != "" {
		return nil, fmt.Errorf("the login was refused: %s", clipped(q.Get("error")+" "+q.Get("error_description")))
	}
	if q.Get("code") == "" {
		return nil, errors.New("the login gave no code")
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

// tokenSource keeps the tokens of one server, and renews them.
type tokenSource struct {
	name   string
	secret string // the client's, that the configuration has
	store  Tokens // nil: they are good for this process
	client *http.Client

	mu   sync.Mutex
	kept keptToken
}

// keptToken is what is kept of a login.
type keptToken struct {
	Token        *oauth2.Token    `json:"token"`
	ClientID     string           `json:"client_id"`
	ClientSecret string           `json:"client_secret,omitempty"` // that the server gave us
	TokenURL     string           `json:"token_url"`
	AuthStyle    oauth2.AuthStyle `json:"auth_style"`
	Scopes       []string         `json:"scopes,omitempty"`
}

// begin keeps the tokens of a login.
func (t *tokenSource) begin(c *oauth2.Config, token *oauth2.Token) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = keptToken{Token: token, ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.Endpoint.TokenURL,
		AuthStyle: c.Endpoint.AuthStyle, Scopes: c.Scopes}
	if t.kept.ClientSecret == t.secret {
		t.kept.ClientSecret = "" // the configuration names it
	}
	return t.save()
}

// load takes what is kept, and tells whether there is anything.
func (t *tokenSource) load() bool {
	if t.store == nil {
		return false
	}
	data, err := t.store.Load(t.name)
	var kept keptToken
	if err != nil || json.Unmarshal(data, &kept) != nil || kept.Token == nil {
		return false
	}
	t.kept = kept
	return true
}

func (t *tokenSource) save() error {
	if t.store == nil {
		return nil
	}
	data, err := json.Marshal(t.kept)
	if err != nil {
		return err
	}
	return t.store.Save(t.name, data)
}

// Token returns a token that is good, as far as one can know. Without any the
// error is one that the SDK takes as a reason to go without.
func (t *tokenSource) Token() (*oauth2.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept.Token.Valid() {
		return t.kept.Token, nil
	}
	if t.load() && t.kept.Token.Valid() { // another process has renewed it
		return t.kept.Token, nil
	}
	if t.kept.Token == nil || t.kept.Token.RefreshToken == "" {
		return nil, &oauth2.RetrieveError{ErrorCode: "invalid_grant"}
	}
	c := &oauth2.Config{ClientID: t.kept.ClientID, ClientSecret: t.kept.ClientSecret, Scopes: t.kept.Scopes,
		Endpoint: oauth2.Endpoint{TokenURL: t.kept.TokenURL, AuthStyle: t.kept.AuthStyle}}
	if c.ClientSecret == "" {
		c.ClientSecret = t.secret
	}
	token, err := c.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, t.client), t.kept.Token).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode/100 == 4 {
		return nil, &oauth2.RetrieveError{ErrorCode: "invalid_grant"} // whatever its words
	}
	if err != nil {
		return nil, err
	}
	t.kept.Token = token
	return token, t.save()
}

// secrets are the tokens, which must not get anywhere.
func (t *tokenSource) secrets() (all []string) {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept.Token != nil {
		all = append(all, t.kept.Token.AccessToken, t.kept.Token.RefreshToken)
	}
	return append(all, t.kept.ClientSecret)
}
