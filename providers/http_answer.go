package providers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"gleitzeit/protocols"
)

// This file makes a result of an answer, or an error whose code decides
// whether the task is tried again.

// httpResult is the result of http/request. The body is in one of JSON, Body,
// Base64 and File.
type httpResult struct {
	Status     int             `json:"status"`
	URL        string          `json:"url"`
	Headers    map[string]any  `json:"headers"`
	JSON       json.RawMessage `json:"json,omitempty"`
	Body       *string         `json:"body,omitempty"`
	Base64     *string         `json:"base64,omitempty"`
	File       string          `json:"file,omitempty"`
	SHA256     string          `json:"sha256,omitempty"`
	Size       int64           `json:"size"`
	DurationMS int64           `json:"duration_ms"`
}

var errTooLarge = errors.New("larger than allowed")

// answered reads the answer.
func (x *exchange) answered(resp *http.Response) (json.RawMessage, error) {
	if !x.q.OKStatus.accepts(resp.StatusCode) {
		return nil, x.refused(resp)
	}
	r := &httpResult{Status: resp.StatusCode, URL: resp.Request.URL.Redacted(), Headers: headersOf(resp.Header)}
	if x.q.Save != "" {
		if err := x.save(resp, r); err != nil {
			return nil, err
		}
	} else if err := x.read(resp, r); err != nil {
		return nil, err
	}
	r.DurationMS = time.Since(x.began).Milliseconds()
	result, err := encode(r)
	if err != nil {
		return nil, err
	}
	return x.withoutKey(result), nil
}

// headersOf are an answer's headers as a map.
func headersOf(h http.Header) map[string]any {
	all := map[string]any{}
	for name, values := range h {
		name = strings.ToLower(name)
		if name == "set-cookie" {
			all[name] = values // a comma may stand in one
			continue
		}
		all[name] = strings.ToValidUTF8(strings.Join(values, ", "), "\ufffd")
	}
	return all
}

// lively is a body that shows signs of life and has an end.
type lively struct {
	from  io.Reader
	host  Host
	read  int64
	most  int64
	every time.Duration // between two signs
	shown time.Time
}

// Read counts what was unpacked: a small answer can unpack to a huge one.
func (l *lively) Read(b []byte) (int, error) {
	n, err := l.from.Read(b)
	if l.read += int64(n); l.read > l.most {
		return 0, errTooLarge
	}
	if now := time.Now(); n > 0 && now.Sub(l.shown) >= l.every {
		l.shown = now
		l.host.Progress(Progress{Message: fmt.Sprintf("%d KiB", l.read>>10)})
	}
	return n, err
}

func (x *exchange) lively(resp *http.Response, most int64) *lively {
	l := &lively{from: resp.Body, host: x.host, most: most, every: 500 * time.Millisecond, shown: x.began}
	if idle := x.call.IdleTimeout; idle > 0 {
		l.every = min(l.every, idle/4)
	}
	return l
}

// read takes the body into the result.
func (x *exchange) read(resp *http.Response, r *httpResult) error {
	body, err := io.ReadAll(x.lively(resp, x.maxResponse))
	if errors.Is(err, errTooLarge) {
		return protocols.Errorf(protocols.TaskResultInvalid,
			"the answer of %s is larger than %d bytes: write it to a file (save), or allow more (max_response in gleitzeit.yaml)", origin(x.to), x.maxResponse)
	}
	if err != nil {
		return x.failed(err)
	}
	r.Size = int64(len(body))
	return x.parse(body, resp.Header.Get("Content-Type"), r)
}

// parse decides what the body is.
func (x *exchange) parse(body []byte, contentType string, r *httpResult) error {
	kind, parameters, _ := mime.ParseMediaType(contentType)
	asJSON := kind == "application/json" || strings.HasSuffix(kind, "+json")
	switch how := x.q.Parse; {
	case how == "base64":
	case how == "json" || (how == "" || how == "auto") && asJSON && len(body) > 0:
		document := bytes.TrimPrefix(body, []byte("\ufeff"))
		if !json.Valid(document) || !utf8.Valid(document) {
			return protocols.Errorf(protocols.TaskResultInvalid, "the answer of %s is not JSON: %s", origin(x.to), clipped(x.scrub(strings.ToValidUTF8(string(body[:min(len(body), 2*maxQuote)]), "\ufffd"))))
		}
		r.JSON = document
		return nil
	default:
		text, is := textIn(body, parameters["charset"])
		if is {
			r.Body = &text
			return nil
		}
		if how == "text" {
			return protocols.Errorf(protocols.TaskResultInvalid, "the answer of %s is not text (parse: base64 takes anything)", origin(x.to))
		}
	}
	packed := base64.StdEncoding.EncodeToString(body)
	r.Base64 = &packed
	return nil
}

// textIn reads bytes as text, in UTF-8 or, if they say so, Latin-1.
func textIn(body []byte, charset string) (string, bool) {
	switch strings.ToLower(charset) {
	case "iso-8859-1", "latin1":
		runes := make([]rune, len(body))
		for i, b := range body {
			runes[i] = rune(b)
		}
		return string(runes), true
	}
	return strings.TrimPrefix(string(body), "\ufeff"), utf8.Valid(body) && !bytes.ContainsRune(body, 0)
}

// save writes the body to a file, which is there as a whole or not at all.
func (x *exchange) save(resp *http.Response, r *httpResult) error {
	path, err := savePath(x.call, x.q.Save)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".gleitzeit-*")
	if err != nil {
		return protocols.Errorf(protocols.TaskExecutionFailed, "save: %v", cause(err))
	}
	defer os.Remove(temporary.Name()) // nothing is there any more when all went well
	hash := sha256.New()
	r.Size, err = io.Copy(io.MultiWriter(temporary, hash), x.lively(resp, x.maxFile))
	_ = temporary.Chmod(0o644)
	closed := temporary.Close()
	switch {
	case errors.Is(err, errTooLarge):
		return protocols.Errorf(protocols.TaskResultInvalid, "the answer of %s is larger than %d bytes (max_file in gleitzeit.yaml)", origin(x.to), x.maxFile)
	case err != nil:
		return x.failed(err)
	case closed != nil:
		return protocols.Errorf(protocols.TaskExecutionFailed, "save: %v", cause(closed))
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return protocols.Errorf(protocols.TaskExecutionFailed, "save: %s can't be written", x.q.Save)
	}
	r.File, r.SHA256 = x.q.Save, hex.EncodeToString(hash.Sum(nil))
	return nil
}

// savePath is where a file is to be written: below the workflow's folder or
// the configuration's roots, links resolved. Its folder is made.
func savePath(call Call, name string) (string, error) {
	roots := call.Roots
	if call.Dir != "" {
		roots = append([]string{call.Dir}, roots...)
	}
	path := filepath.Clean(name)
	if !filepath.IsAbs(path) {
		if call.Dir == "" {
			return "", wrongParameter("save: %q: the workflow's folder isn't here", name)
		}
		path = filepath.Join(call.Dir, path)
	}
	folder := resolved(filepath.Dir(path))
	if strings.HasSuffix(name, "/") || !below(folder, roots) {
		return "", protocols.Errorf(protocols.AuthorizationFailed,
			"save: %q is no file below the workflow's folder or the configuration's `roots`", name)
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", protocols.Errorf(protocols.TaskExecutionFailed, "save: %v", cause(err))
	}
	return filepath.Join(folder, filepath.Base(path)), nil
}

// httpCodes are the codes of statuses where they aren't those of a model's
// server.
var httpCodes = map[int]protocols.Code{
	http.StatusNotFound:         protocols.MethodNotFound,
	http.StatusGone:             protocols.MethodNotFound,
	http.StatusMethodNotAllowed: protocols.MethodNotSupported,
	http.StatusNotImplemented:   protocols.MethodNotSupported,
	http.StatusTooEarly:         protocols.ProviderOverloaded,
}

// maxErrorBody is how much of a refusal's body an error's data hold, in bytes.
const maxErrorBody = 4 << 10

// refused is the error of a status that isn't taken for a success.
func (x *exchange) refused(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what came of it will do
	if x.ctx.Err() != nil {
		return x.failed(x.ctx.Err())
	}
	code, known := httpCodes[resp.StatusCode]
	if !known {
		code = statusCode(resp.StatusCode)
	}
	text := x.scrub(strings.ToValidUTF8(string(body), "\ufffd"))
	message := strings.TrimSpace(fmt.Sprintf("%s answered %d %s", x.scrub(place(resp.Request.URL)), resp.StatusCode, http.StatusText(resp.StatusCode)))
	if resp.StatusCode < 400 {
		code = protocols.TaskParameterError
		message += "; ok_status can take that for a success"
	} else if words := reason(text); words != "" && !strings.HasPrefix(words, "<") {
		message += ": " + words
	}
	data := map[string]any{"status": resp.StatusCode, "url": x.scrub(resp.Request.URL.Redacted()), "body": clipText(text, maxErrorBody)}
	if to := resp.Header.Get("Location"); to != "" {
		data["location"] = x.scrub(to)
	}
	if wait := retryAfter(resp.Header.Get("Retry-After"), time.Now()); wait > 0 {
		data["retry_after"] = wait.Seconds()
	}
	return protocols.Errorf(code, "%s", message).With(data)
}

// place is an address without its query.
func place(u *url.URL) string { return origin(u) + u.EscapedPath() }

func clipText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// secretsIn are the texts that log in.
func (p *httpProvider) secretsIn(q *httpParameters, key string) []string {
	secrets := []string{key}
	values := make([]string, 0, len(p.headers)+2)
	for name, value := range p.headers {
		if !harmlessHeader(name) {
			values = append(values, value)
		}
	}
	for name, value := range q.Headers {
		if !harmlessHeader(name) {
			values = append(values, string(value))
		}
	}
	if q.Auth != nil {
		secrets = append(secrets, string(q.Auth.Password), string(q.Auth.Bearer),
			base64.StdEncoding.EncodeToString([]byte(q.Auth.Username+":"+q.Auth.Password)))
	}
	for _, value := range values {
		_, token, _ := strings.Cut(value, " ") // "Bearer …"
		secrets = append(secrets, value, token)
	}
	if p.base != nil && p.base.User != nil {
		password, _ := p.base.User.Password()
		secrets = append(secrets, password)
	}
	return secrets
}

func harmlessHeader(name string) bool {
	for _, h := range harmless {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}

// formsOf are the ways in which a text may come back: as it is, as JSON with
// and without HTML in mind, and as part of an address.
func formsOf(secret string) []string {
	if len(secret) < 4 {
		return nil // that would be found everywhere
	}
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, write := range []func(any) (json.RawMessage, error){encode, func(v any) (json.RawMessage, error) { return json.Marshal(v) }} {
		if quoted, err := write(secret); err == nil {
			forms = append(forms, string(quoted[1:len(quoted)-1]))
		}
	}
	return forms
}

// scrub takes what logs in out of a text of ours: servers like to quote it.
func (x *exchange) scrub(text string) string {
	for _, secret := range x.secrets {
		for _, form := range formsOf(secret) {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	return text
}

// withoutKey takes the configuration's key out of a result's texts; the run's
// own secrets are taken out of all results.
func (x *exchange) withoutKey(result json.RawMessage) json.RawMessage {
	forms := formsOf(x.key)
	if len(forms) == 0 {
		return result
	}
	if strings.ContainsAny(x.key, `"\\`) {
		forms = forms[1:] // as it is it stands in no JSON, but half an escape may look like it
	}
	var out []byte
	for i := 0; i < len(result); {
		end := i + 1
		if result[i] != '"' {
			out = append(out, result[i])
			i = end
			continue
		}
		for ; result[end] != '"'; end++ { // it is JSON: the text has an end
			if result[end] == '\\' {
				end++
			}
		}
		text := string(result[i+1 : end])
		for _, form := range forms {
			text = strings.ReplaceAll(text, form, "***")
		}
		out = append(append(append(out, '"'), text...), '"')
		i = end + 1
	}
	return out
}
