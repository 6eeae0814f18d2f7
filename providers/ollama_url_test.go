package providers

import (
	"net/url"
	"testing"
)

func TestOllamaURL(t *testing.T) {
	for host, want := range map[string]string{
		"":                          "http://127.0.0.1:11434",
		"  ":                        "http://127.0.0.1:11434",
		"example.com":               "http://example.com:11434",
		"example.com:1234":          "http://example.com:1234",
		":1234":                     "http://127.0.0.1:1234",
		"0.0.0.0":                   "http://127.0.0.1:11434",
		"0.0.0.0:80":                "http://127.0.0.1:80",
		"::":                        "http://[::1]:11434",
		"[::]:1234":                 "http://[::1]:1234",
		"::1":                       "http://[::1]:11434",
		"[fe80::1]":                 "http://[fe80::1]:11434",
		"http://example.com":        "http://example.com:80",
		"http://example.com:11434/": "http://example.com:11434",
		"https://example.com":       "https://example.com:443",
		"https://example.com/llm/":  "https://example.com:443/llm",
		"http://u:p@example.com:1":  "http://u:p@example.com:1",
		`"example.com"`:             "http://example.com:11434",
	} {
		if got, err := OllamaURL(host); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", host, got, err, want)
		}
	}
	for _, host := range []string{"ftp://x", "x:0", "x:66000", "x:y", "http://x?a=b", "a b"} {
		if got, err := OllamaURL(host); err == nil {
			t.Errorf("%q: %q", host, got)
		}
	}
}

func mustParse(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func FuzzOllamaURL(f *testing.F) {
	for _, host := range []string{"", "::", "https://a/b", "a:1"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got, err := OllamaURL(host)
		if err != nil {
			return
		}
		if again, err := OllamaURL(got); err != nil || again != got {
			t.Errorf("%q gives %q, that gives %q, %v", host, got, again, err)
		}
	})
}
