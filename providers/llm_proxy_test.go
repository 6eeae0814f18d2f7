package providers

import (
	"net/http"
	"testing"
)

func TestProxy(t *testing.T) {
	env := map[string]string{"HTTP_PROXY": "http://p:1", "https_proxy": "q:2", "HTTPS_PROXY": "ignored:3"}
	for _, test := range []struct{ url, no, want string }{
		{"http://a.example", "", "http://p:1"},
		{"https://a.example", "", "http://q:2"},
		{"http://127.0.0.1:11434", "", ""},
		{"http://[::1]:11434", "", ""},
		{"http://localhost", "", ""},
		{"http://a.example", "b.example, *", ""},
		{"http://a.example", "example", ""},
		{"http://a.example", ".example", ""},
		{"http://a.example", "*.example", ""},
		{"http://a.example", "ample", "http://p:1"},
		{"http://a.example:8", "a.example:8", ""},
		{"http://a.example:8", "a.example:9", "http://p:1"},
		{"http://10.1.2.3", "10.0.0.0/8", ""},
		{"http://11.1.2.3", "10.0.0.0/8,,", "http://p:1"},
		{"http://[fd00::1]:8", "fd00::/8", ""},
	} {
		env["NO_PROXY"] = test.no
		request, err := http.NewRequest("GET", test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := proxyFrom(func(name string) string { return env[name] })(request)
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		if err != nil || got != test.want {
			t.Errorf("%s without %q: %q, %v; want %q", test.url, test.no, got, err, test.want)
		}
	}
	env["HTTP_PROXY"], env["NO_PROXY"] = "http://", ""
	request, _ := http.NewRequest("GET", "http://a.example", nil)
	if _, err := proxyFrom(func(name string) string { return env[name] })(request); err == nil {
		t.Error("a proxy without a host is one")
	}
}
