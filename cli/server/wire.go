package server

import (
	"bytes"
	"encoding/json"

	"gleitzeit/protocols"
)

// This file reads and writes the messages of JSON-RPC 2.0, whatever carries
// them. The words of its errors are the specification's.

var (
	errParse          = protocols.Errorf(protocols.ParseError, "Parse error")
	errInvalidRequest = protocols.Errorf(protocols.InvalidRequest, "Invalid Request")
)

// maxBatch is how many calls one message may have.
const maxBatch = 1000

// request is one call as it came, or what is wrong with it.
type request struct {
	id     json.RawMessage // as it was sent, "null" if that can't be told; nil: a notification
	method string
	params json.RawMessage // an object or an array, or nil
	err    *protocols.Error
}

// message is what comes at once: one call, or a batch.
type message struct {
	calls []request
	batch bool
}

var nullID = json.RawMessage("null")

// parseMessage reads a message. It keeps nothing of data.
func parseMessage(data []byte) message {
	data = bytes.TrimSpace(data)
	if !json.Valid(data) {
		return message{calls: []request{{id: nullID, err: errParse}}}
	}
	if data[0] != '[' {
		return message{calls: parseCalls([]json.RawMessage{data})}
	}
	if n := items(data); n > maxBatch { // before any of them is made
		return message{calls: []request{{id: nullID, err: protocols.Errorf(protocols.InvalidRequest,
			"a batch of %d calls: it may have %d", n, maxBatch)}}}
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil || len(parts) == 0 {
		return message{calls: []request{{id: nullID, err: errInvalidRequest}}}
	}
	return message{calls: parseCalls(parts), batch: true}
}

// items counts the items of an array, or the members of an object, of valid
// JSON; of an empty one it says 1.
func items(data []byte) int {
	n, depth := 1, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 1 {
				n++
			}
		}
	}
	return n
}

// maxMembers is how many members a call may have: four mean something.
const maxMembers = 64

// parseCalls reads the parts of a message. Answers among them are to nothing
// that we asked, and get none.
func parseCalls(parts []json.RawMessage) (calls []request) {
	for _, part := range parts {
		var members map[string]json.RawMessage
		if items(part) > maxMembers || json.Unmarshal(part, &members) != nil {
			members = nil
		}
		if !isAnswer(members) {
			calls = append(calls, parseCall(members))
		}
	}
	return calls
}

func isAnswer(members map[string]json.RawMessage) bool {
	_, call := members["method"]
	_, result := members["result"]
	_, failure := members["error"]
	return !call && (result || failure)
}

func parseCall(members map[string]json.RawMessage) (r request) {
	id, named := members["id"]
	var version string
	switch {
	case members == nil || named && !isID(id), !isA[string](members["method"], &r.method):
		return request{id: nullID, err: errInvalidRequest}
	case !isA(members["jsonrpc"], &version) || version != "2.0":
		r.err = errInvalidRequest.With(map[string]string{"hint": `"jsonrpc" must be "2.0"`})
	}
	if r.params = members["params"]; r.params != nil && r.params[0] != '{' && r.params[0] != '[' {
		if r.params = nil; string(members["params"]) != "null" {
			r.err = errInvalidRequest.With(map[string]string{"hint": `"params" must be an object or an array`})
		}
	}
	if r.id = id; !named && r.err != nil {
		r.id = nullID
	}
	return r
}

// isID tells whether an id is a string, a number or null.
func isID(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '"' || raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' || string(raw) == "null")
}

// isA reads a value of exactly that type.
func isA[T any](raw json.RawMessage, to *T) bool {
	return len(raw) > 0 && string(raw) != "null" && json.Unmarshal(raw, to) == nil
}

// writeAnswer writes the answer to one call: what result is, or the error.
func writeAnswer(id json.RawMessage, result any, failure error) []byte {
	member, value := `"result"`, result
	if failure != nil {
		member, value = `"error"`, asError(failure)
	}
	raw, err := marshal(value)
	if err != nil {
		return writeAnswer(id, nil, protocols.Errorf(protocols.InternalError, "write the answer: %v", err))
	}
	if len(raw) > MaxFrame-1<<10-len(id) {
		return writeAnswer(id, nil, asError(ErrTooLarge))
	}
	return bytes.Join([][]byte{[]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,` + member + `:`), raw, []byte(`}`)}, nil)
}

// writeNotification writes what nobody answers.
func writeNotification(method string, params any) ([]byte, error) {
	return marshal(struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}{"2.0", method, params})
}

// marshal writes JSON on one line without escaping what only HTML would mind.
func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return unescape(b), err
}
