package providers

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// OllamaURL turns what OLLAMA_HOST may hold into a server's address, as
// Ollama's own command reads it:
//
//	""                      http://127.0.0.1:11434
//	host, host:port, :port  http, port 11434 unless given
//	http://host             port 80 unless given
//	https://host/path       port 443 unless given, the path is kept
//
// An address to listen on (0.0.0.0, ::) becomes the loopback address to
// connect to. The error doesn't repeat the text: it may hold a password.
func OllamaURL(host string) (string, error) {
	host = strings.Trim(strings.TrimSpace(host), `"'`)
	scheme, rest, found := strings.Cut(host, "://")
	port := "11434"
	switch {
	case !found:
		scheme, rest = "http", host
	case scheme == "http":
		port = "80"
	case scheme == "https":
		port = "443"
	default:
		return "", errors.New("an Ollama address begins with http:// or https://, or is host:port")
	}
	if ip := net.ParseIP(rest); ip != nil && ip.To4() == nil {
		rest = "[" + rest + "]" // a bare IPv6 address
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("an Ollama address is host:port or a URL")
	}
	name := u.Hostname()
	if u.Port() != "" {
		port = u.Port()
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("the port of an Ollama address is 1 to 65535")
	}
	switch name {
	case "", "0.0.0.0":
		name = "127.0.0.1"
	case "::":
		name = "::1"
	}
	u.Host = net.JoinHostPort(name, port)
	u.Path = strings.TrimRight(u.Path, "/")
	return u.String(), nil
}
