package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"gleitzeit/protocols"
)

// submitFile answers POST /workflow/submit, which is workflow/submit for people
// with curl: the body is a workflow file,
//
//	curl --data-binary @flow.yaml 'http://localhost:8765/workflow/submit?input.who=Ada'
//
// or a form whose part "workflow" is one. Of its other parts those with a file
// name are files that the workflow names, and the others inputs:
//
//	curl -F workflow=@flow.yaml -F who=Ada -F prompts/a.txt=@prompts/a.txt http://localhost:8765/workflow/submit
func (h *httpDoor) submitFile(w http.ResponseWriter, r *http.Request, p *Peer) {
	body, err := h.body(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	params, err := filedParams(r, body)
	if err != nil {
		refuse(w, err)
		return
	}
	result, err := h.server.handle(context.WithoutCancel(r.Context()), request{method: WorkflowSubmit}, &Call{Peer: p, given: *params})
	if err != nil {
		refuse(w, err)
		return
	}
	raw, err := marshal(result)
	if err != nil {
		refuse(w, err)
		return
	}
	writeJSON(w, http.StatusOK, append(raw, '\n'))
}

// filedParams reads what was sent.
func filedParams(r *http.Request, body []byte) (*SubmitParams, error) {
	q := r.URL.Query()
	p := &SubmitParams{ID: q.Get("id"), Key: q.Get("key"), Queue: q.Get("queue"), Source: q.Get("source"),
		Files: map[string][]byte{}, Texts: map[string]string{}}
	if text := q.Get("priority"); text != "" {
		quoted, _ := json.Marshal(text)
		if err := json.Unmarshal(quoted, &p.Priority); err != nil {
			return nil, protocols.Errorf(protocols.InvalidParams, "priority: %v", err)
		}
	}
	for name := range q {
		if input, ok := strings.CutPrefix(name, "input."); ok {
			p.Texts[input] = q.Get(name)
		}
	}
	kind, words, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		p.Workflow = string(body)
		return p, nil
	}
	return p, p.readForm(multipart.NewReader(bytes.NewReader(body), words["boundary"]))
}

// maxParts is how many parts a form may have.
const maxParts = 10_000

func (p *SubmitParams) readForm(form *multipart.Reader) error {
	for range maxParts {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var data []byte
		if err == nil {
			data, err = io.ReadAll(part)
		}
		if err != nil {
			return protocols.Errorf(protocols.InvalidRequest, "read the form: %v", err)
		}
		switch name := part.FormName(); {
		case name == "workflow":
			p.Workflow = string(data)
			if p.Source == "" {
				p.Source = part.FileName()
			}
		case part.FileName() != "":
			p.Files[name] = data
		default:
			p.Texts[name] = string(data)
		}
	}
	return protocols.Errorf(protocols.InvalidRequest, "the form has more than %d parts", maxParts)
}
