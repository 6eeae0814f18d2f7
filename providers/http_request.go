package providers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file makes a request of a call's parameters.

// httpParameters are those of http/request.
type httpParameters struct {
	URL            string               `json:"url"`
	Method         string               `json:"method"`
	Headers        map[string]llmText   `json:"headers"`
	Query          map[string]*llmTexts `json:"query"`
	JSON           json.RawMessage      `json:"json"`
	Body           *llmText             `json:"body"`
	Base64         *string              `json:"base64"`
	Form           map[string]*llmTexts `json:"form"`
	File           string               `json:"file"`
	Files          map[string]string    `json:"files"`
	Auth           *httpAuth            `json:"auth"`
	OKStatus       statuses             `json:"ok_status"`
	MaxRedirects   *int                 `json:"max_redirects"`
	Timeout        llmText              `json:"timeout"`
	Parse          string               `json:"parse"`
	Save           string               `json:"save"`
	IdempotencyKey json.RawMessage      `json:"idempotency_key"`
}

// httpAuth is how a request logs in.
type httpAuth struct {
	Username llmText `json:"username"`
	Password llmText `json:"password"`
	Bearer   llmText `json:"bearer"`
}

// statuses are statuses and classes of them, such as 404 and 4xx.
type statuses []string

// UnmarshalJSON takes one or a list, numbers or texts.
func (s *statuses) UnmarshalJSON(b []byte) error {
	var texts llmTexts
	if err := texts.UnmarshalJSON(b); err != nil {
		return err
	}
	*s = texts.List
	return nil
}

// accepts tells whether a status is no failure.
func (s statuses) accepts(status int) bool {
	if len(s) == 0 {
		return status/100 == 2
	}
	return slices.Contains(s, fmt.Sprint(status)) || slices.Contains(s, fmt.Sprintf("%dxx", status/100))
}

// wrongParameter is a complaint about a parameter.
func wrongParameter(format string, args ...any) *protocols.Error {
	return protocols.Errorf(protocols.TaskParameterError, format, args...)
}

// target returns where the request goes.
func (p *httpProvider) target(q *httpParameters) (*url.URL, error) {
	u, err := url.Parse(q.URL)
	switch {
	case err != nil:
		return nil, wrongParameter("url: not an address") // not which: there may be a secret in it
	case u.User != nil:
		return nil, wrongParameter("url: a name and a password belong into auth, not into the address")
	case u.IsAbs() && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https"):
		if p.base != nil && !sameOrigin(u, p.base) {
			return nil, wrongParameter("url: the provider %s is for %s only; for other servers leave `provider` out", p.name, origin(p.base))
		}
	case u.IsAbs() || u.Host != "" || !strings.HasPrefix(q.URL, "/"):
		return nil, wrongParameter("url: must begin with http:// or https://")
	case p.base == nil:
		return nil, wrongParameter("url: a path alone goes to a provider that has a url: name it as the task's `provider`")
	default:
		if u, err = pathBelow(p.base, u); err != nil {
			return nil, err
		}
	}
	u.Fragment, u.RawFragment = "", ""
	if more := formOf(q.Query).Encode(); more != "" {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+more, "&")
	}
	return u, nil
}

// pathBelow is the address of a path below the provider's.
func pathBelow(base, path *url.URL) (*url.URL, error) {
	for _, part := range strings.Split(path.Path, "/") {
		if part == ".." || part == "." {
			return nil, wrongParameter("url: a path below the provider's url can't hold %q", part)
		}
	}
	u := *base
	escaped := strings.TrimRight(base.EscapedPath(), "/") + path.EscapedPath()
	u.Path = strings.TrimRight(base.Path, "/") + path.Path
	u.RawPath = escaped
	u.RawQuery = strings.Trim(base.RawQuery+"&"+path.RawQuery, "&")
	return &u, nil
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

// formOf are fields as a query and a form have them.
func formOf(fields map[string]*llmTexts) url.Values {
	values := url.Values{}
	for name, texts := range fields {
		if texts != nil {
			values[name] = texts.List
		}
	}
	return values
}

// body returns the request's body and its media type, "" for none.
func (p *httpProvider) body(call Call, q *httpParameters) (data []byte, kind string, err error) {
	var given []string
	for name, there := range map[string]bool{"json": len(q.JSON) > 0, "body": q.Body != nil, "base64": q.Base64 != nil,
		"file": q.File != "", "form": q.Form != nil && q.Files == nil, "files": q.Files != nil} {
		if there {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		slices.Sort(given)
		return nil, "", wrongParameter("a request has one body, not %s", strings.Join(given, " and "))
	}
	switch {
	case q.JSON != nil:
		data, kind = q.JSON, "application/json"
	case q.Body != nil:
		data, kind = []byte(*q.Body), "text/plain; charset=utf-8"
	case q.Base64 != nil:
		kind = "application/octet-stream"
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(*q.Base64), "")); err != nil {
			return nil, "", wrongParameter("base64: not base64")
		}
	case q.File != "":
		data, err = readFile(call, q.File)
		kind = mediaType(q.File)
	case q.Files != nil:
		data, kind, err = multipartOf(call, q)
	case q.Form != nil:
		data, kind = []byte(formOf(q.Form).Encode()), "application/x-www-form-urlencoded"
	}
	if err == nil && int64(len(data)) > p.maxRequest {
		err = wrongParameter("the request's body has %d bytes, and may have %d (max_request)", len(data), p.maxRequest)
	}
	return data, kind, err
}

// mediaType is what a file holds by its name.
func mediaType(name string) string {
	if kind := mime.TypeByExtension(path.Ext(name)); kind != "" {
		return kind
	}
	return "application/octet-stream"
}

var quotes = strings.NewReplacer(`\`, `\\`, `"`, `%22`, "\r", "%0D", "\n", "%0A")

// multipartOf is an upload of files with the fields of a form.
func multipartOf(call Call, q *httpParameters) ([]byte, string, error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, values := range formOf(q.Form) {
		for _, value := range values {
			_ = w.WriteField(name, value) // into memory
		}
	}
	for name, file := range q.Files {
		data, err := readFile(call, file)
		if err != nil {
			return nil, "", err
		}
		part, _ := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name="%s"; filename="%s"`, quotes.Replace(name), quotes.Replace(filepath.Base(file)))},
			"Content-Type":        {mediaType(file)},
		})
		_, _ = part.Write(data)
	}
	_ = w.Close()
	return b.Bytes(), w.FormDataContentType(), nil
}

// ours are headers that no task sets.
var ours = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer",
	"Proxy-Authorization", "Proxy-Connection", "Accept-Encoding"}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// headerText tells whether a text can be a header's value.
func headerText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// header makes the request's header: first what the provider sends with all,
// then what the task says.
func (p *httpProvider) header(call Call, q *httpParameters, method, kind, key string) (http.Header, error) {
	h := http.Header{"User-Agent": {"gleitzeit"}, "Accept": {"*/*"}}
	if q.Parse == "json" {
		h.Set("Accept", "application/json")
	}
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	if key := q.idempotencyKey(call, method); key != "" {
		h.Set("Idempotency-Key", key)
	}
	if call.Trace != "" {
		h.Set("Traceparent", call.Trace)
	}
	for name, value := range p.headers {
		h.Set(name, value)
	}
	p.authorize(h, key)
	for name, value := range q.Headers {
		switch {
		case slices.Contains(ours, http.CanonicalHeaderKey(name)):
			return nil, wrongParameter("headers: %s is not a task's to set", name)
		case !headerName.MatchString(name) || !headerText(string(value)):
			return nil, wrongParameter("headers: %q or its value can't stand in a header", name)
		}
		h.Set(name, string(value))
	}
	return h, q.Auth.set(h)
}

// set puts what logs in into the header.
func (a *httpAuth) set(h http.Header) error {
	switch {
	case a == nil:
	case a.Bearer != "" && (a.Username != "" || a.Password != ""):
		return wrongParameter("auth: a username and a password, or bearer, not both")
	case a.Bearer != "":
		if !headerText(string(a.Bearer)) {
			return wrongParameter("auth: bearer can't stand in a header")
		}
		h.Set("Authorization", "Bearer "+string(a.Bearer))
	default:
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)))
	}
	return nil
}

// idempotencyKey is the key of a request that changes something: whoever knows
// such keys sees that a retry is the same request.
func (q *httpParameters) idempotencyKey(call Call, method string) string {
	var own string
	var wanted bool
	switch {
	case json.Unmarshal(q.IdempotencyKey, &own) == nil && own != "":
		return own
	case json.Unmarshal(q.IdempotencyKey, &wanted) == nil && !wanted:
		return ""
	case wanted, method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions:
		return call.Key
	}
	return ""
}

// method is the one that is given, or else what fits.
func (q *httpParameters) method(body bool) string {
	switch {
	case q.Method != "":
		return q.Method
	case body:
		return http.MethodPost
	}
	return http.MethodGet
}

// within is how long the request may take.
func (q *httpParameters) within(otherwise time.Duration) (time.Duration, error) {
	if q.Timeout == "" {
		return otherwise, nil
	}
	text := string(q.Timeout)
	if text[len(text)-1] <= '9' {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, wrongParameter("timeout: must be a number of seconds or a duration such as 90s")
	}
	return d, nil
}
