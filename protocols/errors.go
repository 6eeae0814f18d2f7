package protocols

import (
	"encoding/json"
	"fmt"
	"time"
)

// Code is an error's number on the wire and in the log. The table is the
// Python original's (JSON-RPC 2.0 section 5.1 for -32xxx).
type Code int

// The codes, by range: JSON-RPC -32xxx, system -31xxx, providers -30xxx,
// tasks -29xxx, workflows -28xxx, queues -27xxx, storage -26xxx,
// network -25xxx.
const (
	ParseError     Code = -32700
	InvalidRequest Code = -32600
	MethodNotFound Code = -32601
	InvalidParams  Code = -32602
	InternalError  Code = -32603

	SystemNotInitialized Code = -31001
	SystemShutdown       Code = -31002
	ConfigurationError   Code = -31003
	ResourceExhausted    Code = -31004
	RateLimitExceeded    Code = -31005

	ProtocolNotFound             Code = -30001
	ProviderNotFound             Code = -30002
	ProviderNotAvailable         Code = -30003
	ProviderInitializationFailed Code = -30004
	ProviderUnhealthy            Code = -30005
	ProviderTimeout              Code = -30006
	ProviderOverloaded           Code = -30007
	MethodNotSupported           Code = -30008
	ProtocolVersionMismatch      Code = -30009

	TaskValidationFailed Code = -29001
	TaskExecutionFailed  Code = -29002
	TaskTimeout          Code = -29003
	TaskCancelled        Code = -29004
	TaskDependencyFailed Code = -29005
	TaskParameterError   Code = -29006
	TaskResultInvalid    Code = -29007
	TaskRetryExhausted   Code = -29008
	TaskNotFound         Code = -29009

	WorkflowValidationFailed   Code = -28001
	WorkflowNotFound           Code = -28002
	WorkflowExecutionFailed    Code = -28003
	WorkflowTimeout            Code = -28004
	WorkflowCancelled          Code = -28005
	WorkflowCircularDependency Code = -28006
	WorkflowInvalidState       Code = -28007

	QueueNotFound       Code = -27001
	QueueFull           Code = -27002
	QueueEmpty          Code = -27003
	SchedulingFailed    Code = -27004
	SchedulerNotRunning Code = -27005

	PersistenceConnectionFailed  Code = -26001
	PersistenceWriteFailed       Code = -26002
	PersistenceReadFailed        Code = -26003
	PersistenceTransactionFailed Code = -26004
	PersistenceIntegrityError    Code = -26005

	NetworkUnreachable   Code = -25001
	ConnectionRefused    Code = -25002
	ConnectionTimeout    Code = -25003
	ConnectionLost       Code = -25004
	AuthenticationFailed Code = -25005
	AuthorizationFailed  Code = -25006
)

// Error is the one error that crosses a border: provider to log to wire to
// exit code.
type Error struct {
	Code    Code            `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Errorf makes an Error without data.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// With returns a copy of e whose data is v as JSON. It panics if v can't be
// written as JSON.
func (e *Error) With(v any) *Error {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("error data %T: %v", v, err))
	}
	return &Error{Code: e.Code, Message: e.Message, Data: b}
}

// Error returns the message alone; the code's name is Code.String.
func (e *Error) Error() string { return e.Message }

// RetryAfter returns what the failed side asked to wait: the number of
// seconds in the data's "retry_after", or zero.
func (e *Error) RetryAfter() time.Duration {
	var d struct {
		RetryAfter float64 `json:"retry_after"`
	}
	if len(e.Data) == 0 || json.Unmarshal(e.Data, &d) != nil || !(d.RetryAfter > 0) {
		return 0
	}
	const most = 24 * time.Hour
	if d.RetryAfter > most.Seconds() {
		return most
	}
	return time.Duration(d.RetryAfter * float64(time.Second))
}

// Class is the kind of a failure, as `retry.on` names it.
type Class string

// The classes.
const (
	ClassTimeout    Class = "timeout"
	ClassRateLimit  Class = "rate_limit"
	ClassServer     Class = "server"     // the other side failed or is overloaded
	ClassNetwork    Class = "network"    // the other side can't be reached
	ClassSchema     Class = "schema"     // a result that isn't as promised
	ClassExecution  Class = "execution"  // the work itself failed: a script, a tool
	ClassValidation Class = "validation" // never retried unless named, like all below
	ClassParameters Class = "parameters"
	ClassAuth       Class = "auth"
	ClassNotFound   Class = "not_found"
	ClassCancelled  Class = "cancelled"
)

// Hopeless tells whether trying again can't help, so that a retry without
// `on` doesn't (language.md, "Rulings").
func (c Class) Hopeless() bool {
	switch c {
	case ClassValidation, ClassParameters, ClassAuth, ClassNotFound, ClassCancelled:
		return true
	}
	return false
}

// Class returns the kind of failure that the code stands for.
func (c Code) Class() Class {
	switch c {
	case TaskTimeout, ProviderTimeout, ConnectionTimeout, WorkflowTimeout:
		return ClassTimeout
	case RateLimitExceeded:
		return ClassRateLimit
	case ProviderNotAvailable, ProviderUnhealthy, ProviderOverloaded, ResourceExhausted,
		InternalError, ProviderInitializationFailed, SystemShutdown, QueueFull:
		return ClassServer
	case NetworkUnreachable, ConnectionRefused, ConnectionLost:
		return ClassNetwork
	case TaskResultInvalid:
		return ClassSchema
	case TaskValidationFailed, WorkflowValidationFailed, WorkflowCircularDependency,
		ConfigurationError, ParseError, InvalidRequest:
		return ClassValidation
	case TaskParameterError, InvalidParams:
		return ClassParameters
	case AuthenticationFailed, AuthorizationFailed:
		return ClassAuth
	case ProtocolNotFound, ProviderNotFound, MethodNotFound, MethodNotSupported,
		TaskNotFound, WorkflowNotFound, QueueNotFound:
		return ClassNotFound
	case TaskCancelled, WorkflowCancelled:
		return ClassCancelled
	}
	return ClassExecution
}
