package providers

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gleitzeit/protocols"
)

// This file keeps requests of workflows out of this machine and its networks:
// what a file or a model made up must not reach a database without a password
// or a cloud's metadata. An address is judged when the connection is made,
// after its name was looked up, so that a name can't mean one address when it
// is judged and another one when it is used.

// reach is where a provider's requests may go besides the public internet.
type reach struct {
	provider string // for messages
	all      bool
	hosts    []hostRule
	nets     []netip.Prefix
	proxies  sync.Map // by host:port: those that the configuration names
}

// useProxy lets connections to a proxy be made.
func (r *reach) useProxy(proxy *url.URL) {
	r.proxies.Store(net.JoinHostPort(proxy.Hostname(), portOf(proxy)), true)
}

// hostRule allows a host, or those below a domain, at a port or at any.
type hostRule struct {
	name   string // in lower case
	below  bool   // *.name
	port   string // "" for any
	direct bool   // an address of the machine itself: localhost
}

var hostForm = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// allow adds an entry of the configuration: a host, *.domain, an address or a
// range of them (10.0.0.0/8), each of the first three perhaps with a port; or *.
func (r *reach) allow(entry string) error {
	if entry == "*" {
		r.all = true
		return nil
	}
	if net, err := netip.ParsePrefix(entry); err == nil {
		r.nets = append(r.nets, net.Masked())
		return nil
	}
	host, port := entry, ""
	if h, p, err := net.SplitHostPort(entry); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q: %q is not the number of a port", entry, p)
		}
		host, port = h, p
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip, err := netip.ParseAddr(host); err == nil {
		if port != "" {
			r.hosts = append(r.hosts, hostRule{name: ip.Unmap().String(), port: port})
			return nil
		}
		r.nets = append(r.nets, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
		return nil
	}
	if !hostForm.MatchString(host) {
		return fmt.Errorf("%q: must be a host, *.domain, an address, a range such as 10.0.0.0/8, or *", entry)
	}
	name, below := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(host, ".")), "*.")
	r.hosts = append(r.hosts, hostRule{name: name, below: below, port: port, direct: name == "localhost"})
	return nil
}

// allowsHost tells whether the configuration names the host, so that it
// doesn't matter where it is.
func (r *reach) allowsHost(host, port string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, rule := range r.hosts {
		named := host == rule.name && !rule.below || rule.below && strings.HasSuffix(host, "."+rule.name)
		if named && (rule.port == "" || rule.port == port) {
			return true
		}
	}
	return r.all
}

// allowsAddress tells whether the configuration names the address.
func (r *reach) allowsAddress(ip netip.Addr, port string) bool {
	for _, net := range r.nets {
		if net.Contains(ip) {
			return true
		}
	}
	for _, rule := range r.hosts {
		if (rule.direct && ip.IsLoopback() || rule.name == ip.String()) && (rule.port == "" || rule.port == port) {
			return true
		}
	}
	return r.all
}

// judge returns an error about an address that may not be reached.
func (r *reach) judge(host, port string, ip netip.Addr) error {
	ip = ip.WithZone("").Unmap()
	what := inside(ip)
	if what == "" || r.allowsHost(host, port) || r.allowsAddress(ip, port) {
		return nil
	}
	return &outOfReach{r.provider, host, port, ip, what}
}

// outOfReach says that an address may not be reached.
type outOfReach struct {
	provider, host, port string
	ip                   netip.Addr
	what                 string
}

// Error says what to put into the configuration.
func (e *outOfReach) Error() string {
	at := e.host
	if e.host != e.ip.String() {
		at += " is " + e.ip.String() + ","
	} else {
		at += " is"
	}
	return fmt.Sprintf("%s %s, which tasks may not reach unless gleitzeit.yaml says so: providers: {%s: {kind: http, allow: [%q]}}",
		at, e.what, e.provider, net.JoinHostPort(e.host, e.port))
}

// dial connects to a host, if one of its addresses may be reached.
func (r *reach) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{Timeout: 10 * time.Second}
	if _, proxy := r.proxies.Load(address); !proxy {
		d.ControlContext = func(_ context.Context, _, found string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(found)
			if err != nil {
				return err
			}
			return r.judge(host, port, to.Addr())
		}
	}
	return d.DialContext(ctx, network, address)
}

// look judges what can be seen of a URL itself: behind a proxy there is no
// other look.
func (r *reach) look(u *url.URL) error {
	port := portOf(u)
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return r.judge(u.Hostname(), port, ip)
	}
	if name := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return r.judge(u.Hostname(), port, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return nil
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// insiders are ranges that no server of the public internet has, besides
// those that netip knows.
var insiders = []struct {
	net  netip.Prefix
	what string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an address of this machine"},
	{netip.MustParsePrefix("100.64.0.0/10"), "an address of a provider's own network"},
	{netip.MustParsePrefix("168.63.129.16/32"), "an address of the cloud's own services"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a reserved address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a reserved address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a private address"},
	{netip.MustParsePrefix("100::/64"), "a reserved address"},
	{netip.MustParsePrefix("2001::/32"), "an address of a tunnel"},
	{netip.MustParsePrefix("fec0::/10"), "a private address"},
}

// embedding are ranges of IPv6 that hold an address of IPv4, from that byte on.
var embedding = []struct {
	net  netip.Prefix
	from int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// inside says what an address is that doesn't belong to the public internet,
// "" of one that does.
func inside(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return "no address"
	case ip.IsLoopback(), ip.IsUnspecified():
		return "an address of this machine"
	case ip.IsPrivate():
		return "a private address"
	case ip.IsLinkLocalUnicast():
		return "a link-local address, as that of a cloud's metadata"
	case ip.IsMulticast():
		return "a multicast address"
	}
	for _, one := range insiders {
		if one.net.Contains(ip) {
			return one.what
		}
	}
	for _, one := range embedding {
		if one.net.Contains(ip) {
			b := ip.As16()
			return inside(netip.AddrFrom4([4]byte(b[one.from : one.from+4])))
		}
	}
	return ""
}

// newReach reads what the configuration allows. What it names by itself, as
// the provider's own server, is allowed.
func newReach(name string, c ProviderConfig) (*reach, []string) {
	r := &reach{provider: name}
	var problems []string
	for _, entry := range c.Allow {
		if err := r.allow(entry); err != nil {
			problems = append(problems, fmt.Sprintf("allow: %v", err))
		}
	}
	if u, err := url.Parse(c.URL); err == nil && u.Host != "" {
		r.hosts = append(r.hosts, hostRule{name: strings.ToLower(u.Hostname()), port: portOf(u)})
	}
	return r, problems
}

// forbidden is the error for a caller.
func (e *outOfReach) forbidden() *protocols.Error {
	return protocols.Errorf(protocols.AuthorizationFailed, "%s", e.Error())
}
