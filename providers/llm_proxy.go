package providers

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// llmVariables are those that a kind of LLM server looks at: its own and those of
// proxies.
func llmVariables(own string) func(ProviderConfig) []string {
	return func(ProviderConfig) []string { return append([]string{own}, proxyVariables...) }
}

// proxyVariables are those that proxyFrom looks at.
var proxyVariables = []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"}

// proxyFrom chooses a request's proxy as curl does, by HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY of the given environment: net/http only knows the
// process's own. Loopback addresses never go through a proxy.
func proxyFrom(env func(string) string) func(*http.Request) (*url.URL, error) {
	look := func(name string) string {
		if value := env(strings.ToLower(name)); value != "" {
			return value
		}
		return env(name)
	}
	return func(r *http.Request) (*url.URL, error) {
		proxy := look(strings.ToUpper(r.URL.Scheme) + "_PROXY")
		if proxy == "" || isLoopback(r.URL.Hostname()) || spared(r.URL, look("NO_PROXY")) {
			return nil, nil
		}
		if !strings.Contains(proxy, "://") {
			proxy = "http://" + proxy
		}
		u, err := url.Parse(proxy)
		if err != nil || u.Host == "" {
			return nil, errors.New("the proxy's address is not of the form http://host:port")
		}
		return u, nil
	}
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// spared tells whether NO_PROXY names the address: by *, a host or domain
// with or without a leading dot or a port, an IP address, or a CIDR range.
func spared(to *url.URL, list string) bool {
	host := strings.ToLower(to.Hostname())
	ip, _ := netip.ParseAddr(host)
	for _, entry := range strings.Split(list, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if name, port, err := net.SplitHostPort(entry); err == nil {
			if port != to.Port() {
				continue
			}
			entry = name
		}
		if entry == "*" {
			return true
		}
		if block, err := netip.ParsePrefix(entry); err == nil && block.Contains(ip) {
			return true
		}
		entry = strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		if entry != "" && (host == entry || strings.HasSuffix(host, "."+entry)) {
			return true
		}
	}
	return false
}
