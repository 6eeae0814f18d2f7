package protocols

import "strconv"

// codeNames holds the original's name of every code.
var codeNames = map[Code]string{
	ParseError:     "PARSE_ERROR",
	InvalidRequest: "INVALID_REQUEST",
	MethodNotFound: "METHOD_NOT_FOUND",
	InvalidParams:  "INVALID_PARAMS",
	InternalError:  "INTERNAL_ERROR",

	SystemNotInitialized: "SYSTEM_NOT_INITIALIZED",
	SystemShutdown:       "SYSTEM_SHUTDOWN",
	ConfigurationError:   "CONFIGURATION_ERROR",
	ResourceExhausted:    "RESOURCE_EXHAUSTED",
	RateLimitExceeded:    "RATE_LIMIT_EXCEEDED",

	ProtocolNotFound:             "PROTOCOL_NOT_FOUND",
	ProviderNotFound:             "PROVIDER_NOT_FOUND",
	ProviderNotAvailable:         "PROVIDER_NOT_AVAILABLE",
	ProviderInitializationFailed: "PROVIDER_INITIALIZATION_FAILED",
	ProviderUnhealthy:            "PROVIDER_UNHEALTHY",
	ProviderTimeout:              "PROVIDER_TIMEOUT",
	ProviderOverloaded:           "PROVIDER_OVERLOADED",
	MethodNotSupported:           "METHOD_NOT_SUPPORTED",
	ProtocolVersionMismatch:      "PROTOCOL_VERSION_MISMATCH",

	TaskValidationFailed: "TASK_VALIDATION_FAILED",
	TaskExecutionFailed:  "TASK_EXECUTION_FAILED",
	TaskTimeout:          "TASK_TIMEOUT",
	TaskCancelled:        "TASK_CANCELLED",
	TaskDependencyFailed: "TASK_DEPENDENCY_FAILED",
	TaskParameterError:   "TASK_PARAMETER_ERROR",
	TaskResultInvalid:    "TASK_RESULT_INVALID",
	TaskRetryExhausted:   "TASK_RETRY_EXHAUSTED",
	TaskNotFound:         "TASK_NOT_FOUND",

	WorkflowValidationFailed:   "WORKFLOW_VALIDATION_FAILED",
	WorkflowNotFound:           "WORKFLOW_NOT_FOUND",
	WorkflowExecutionFailed:    "WORKFLOW_EXECUTION_FAILED",
	WorkflowTimeout:            "WORKFLOW_TIMEOUT",
	WorkflowCancelled:          "WORKFLOW_CANCELLED",
	WorkflowCircularDependency: "WORKFLOW_CIRCULAR_DEPENDENCY",
	WorkflowInvalidState:       "WORKFLOW_INVALID_STATE",

	QueueNotFound:       "QUEUE_NOT_FOUND",
	QueueFull:           "QUEUE_FULL",
	QueueEmpty:          "QUEUE_EMPTY",
	SchedulingFailed:    "SCHEDULING_FAILED",
	SchedulerNotRunning: "SCHEDULER_NOT_RUNNING",

	PersistenceConnectionFailed:  "PERSISTENCE_CONNECTION_FAILED",
	PersistenceWriteFailed:       "PERSISTENCE_WRITE_FAILED",
	PersistenceReadFailed:        "PERSISTENCE_READ_FAILED",
	PersistenceTransactionFailed: "PERSISTENCE_TRANSACTION_FAILED",
	PersistenceIntegrityError:    "PERSISTENCE_INTEGRITY_ERROR",

	NetworkUnreachable:   "NETWORK_UNREACHABLE",
	ConnectionRefused:    "CONNECTION_REFUSED",
	ConnectionTimeout:    "CONNECTION_TIMEOUT",
	ConnectionLost:       "CONNECTION_LOST",
	AuthenticationFailed: "AUTHENTICATION_FAILED",
	AuthorizationFailed:  "AUTHORIZATION_FAILED",
}

// Known tells whether the code is one of the table.
func (c Code) Known() bool {
	_, known := codeNames[c]
	return known
}

// String returns the code's name, TASK_TIMEOUT; of an unknown code its number.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return "ERROR " + strconv.Itoa(int(c))
}

// CodeNamed returns the code of that name.
func CodeNamed(name string) (Code, bool) {
	for code, its := range codeNames {
		if its == name {
			return code, true
		}
	}
	return 0, false
}

// Severity tells how bad an error is.
type Severity string

// The severities.
const (
	SeverityWarning  Severity = "warning"
	SeverityError    Severity = "error"
	SeverityCritical Severity = "critical"
)

// Severity returns how bad an error of the code is, as the original had it.
func (c Code) Severity() Severity {
	switch c {
	case SystemShutdown, PersistenceIntegrityError, AuthenticationFailed, AuthorizationFailed:
		return SeverityCritical
	case QueueFull, RateLimitExceeded, ProviderOverloaded, TaskCancelled, WorkflowCancelled:
		return SeverityWarning
	}
	return SeverityError
}
