package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"gleitzeit/protocols"
)

// tooLarge refuses a body.
type tooLarge struct{ limit int64 }

func (e tooLarge) Error() string { return fmt.Sprintf("the body is larger than %d bytes", e.limit) }

// refuse answers a request that got no further, with the status of HTTP that
// fits and an answer of JSON-RPC to nothing in particular.
func refuse(w http.ResponseWriter, err error) {
	status := statusOf(asError(err).Code)
	if errors.As(err, &tooLarge{}) {
		status, err = http.StatusRequestEntityTooLarge, protocols.Errorf(protocols.InvalidRequest, "%v", err)
	}
	if wait := asError(err).RetryAfter(); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, status, append(writeAnswer(nullID, nil, err), '\n'))
}

// statusOf is the status of HTTP that says most of a code.
func statusOf(c protocols.Code) int {
	switch c {
	case protocols.AuthenticationFailed:
		return http.StatusUnauthorized
	case protocols.AuthorizationFailed:
		return http.StatusForbidden
	case protocols.WorkflowNotFound, protocols.TaskNotFound, protocols.ProtocolNotFound, protocols.ProviderNotFound:
		return http.StatusNotFound
	case protocols.RateLimitExceeded, protocols.ResourceExhausted:
		return http.StatusTooManyRequests
	case protocols.SystemShutdown, protocols.QueueFull, protocols.PersistenceConnectionFailed:
		return http.StatusServiceUnavailable
	case protocols.WorkflowInvalidState:
		return http.StatusConflict
	case protocols.ConnectionTimeout:
		return http.StatusRequestTimeout
	case protocols.InternalError:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// dialError says why a WebSocket didn't come about.
func dialError(response *http.Response, err error) error {
	switch {
	case response == nil:
		return protocols.Errorf(protocols.ConnectionRefused, "%v", err)
	case response.StatusCode == http.StatusUnauthorized:
		return protocols.Errorf(protocols.AuthenticationFailed, "the server wants a token that it knows: GLEITZEIT_TOKEN")
	case response.StatusCode == http.StatusForbidden:
		return protocols.Errorf(protocols.AuthorizationFailed, "the server refuses us: %s", response.Status)
	case response.StatusCode/100 == 3:
		return protocols.Errorf(protocols.ConnectionRefused, "the server redirects to %q, which is not followed: name that address itself if it is meant",
			strings.TrimSuffix(response.Header.Get("Location"), "/rpc"))
	}
	return protocols.Errorf(protocols.ConnectionRefused, "the server answers %s", response.Status)
}
