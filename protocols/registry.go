package protocols

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

//go:embed specs/*.json
var specFiles embed.FS

// Registry knows the protocols that a workflow may speak. It may be used by
// many goroutines at once.
type Registry struct {
	mu      sync.RWMutex
	specs   map[string]*Spec
	methods map[string]*Method // by name and alias
	open    []*Method          // those that end in "*"
	// strangers tells that Compile admits protocols that nobody has described.
	strangers bool
	tools     map[string]map[string]*schema // of MCP servers that have been asked, by server and name
}

// NewRegistry returns a registry of the protocols that are built in: those of
// specs/.
func NewRegistry() *Registry {
	r := &Registry{specs: map[string]*Spec{}, methods: map[string]*Method{}}
	entries, err := specFiles.ReadDir("specs")
	if err != nil {
		panic(fmt.Sprintf("read embedded specs: %v", err))
	}
	for _, e := range entries {
		data, err := specFiles.ReadFile(path.Join("specs", e.Name()))
		spec := &Spec{}
		if err == nil {
			err = json.Unmarshal(data, spec)
		}
		if err == nil {
			err = r.add(spec)
		}
		if err != nil {
			panic(fmt.Sprintf("embedded spec %s: %v", e.Name(), err))
		}
	}
	return r
}

// Admit adds a protocol that nobody has described: it has whatever method is
// asked for, with any parameters. One that is there stays as it is, and so does
// everything if the id is malformed.
func (r *Registry) Admit(protocol string) {
	if _, known := r.Get(protocol); known {
		return
	}
	name, _, _ := strings.Cut(protocol, "/")
	// Register fails for a malformed id, and for one that came just now.
	_ = r.Register(&Spec{Protocol: protocol, Methods: []*Method{{Name: name + "/*"}}})
}

var protocolID = regexp.MustCompile(`^([a-z][a-z0-9_-]*)/v[0-9]+(\.[0-9]+)*$`)

// AdmitAll lets documents speak protocols that the registry doesn't know: others
// judge them. Call it before anything is compiled.
func (r *Registry) AdmitAll() { r.strangers = true }

// IsProtocol tells whether a text has the form of a protocol's id.
func IsProtocol(id string) bool { return protocolID.MatchString(id) }

// Register adds a protocol. It is an error if the id is malformed or taken, a
// method doesn't begin with the protocol's name or is taken, or a schema is
// wrong. The spec must not be changed afterwards.
func (r *Registry) Register(spec *Spec) error {
	for _, m := range spec.Methods {
		m.definitions = spec.Definitions
		if err := m.load(); err != nil {
			return err
		}
	}
	return r.add(spec)
}

func (r *Registry) add(spec *Spec) error {
	id := protocolID.FindStringSubmatch(spec.Protocol)
	if id == nil {
		return fmt.Errorf("protocol %q is not of the form name/v1", spec.Protocol)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.specs[spec.Protocol] != nil {
		return fmt.Errorf("protocol %s is there already", spec.Protocol)
	}
	for _, m := range spec.Methods {
		for _, name := range append([]string{m.Name}, m.Aliases...) {
			if !strings.HasPrefix(name, id[1]+"/") || len(name) == len(id[1])+1 {
				return fmt.Errorf("method %q of %s doesn't begin with %s/", name, spec.Protocol, id[1])
			}
			if r.methods[name] != nil {
				return fmt.Errorf("method %s belongs to %s already", name, r.methods[name].protocol)
			}
		}
	}
	for _, m := range spec.Methods {
		m.protocol, m.definitions = spec.Protocol, spec.Definitions
		if strings.HasSuffix(m.Name, "*") {
			r.open = append(r.open, m)
		}
		for _, name := range append([]string{m.Name}, m.Aliases...) {
			r.methods[name] = m
		}
	}
	r.specs[spec.Protocol] = spec
	return nil
}

// Get returns the specification of a protocol.
func (r *Registry) Get(protocol string) (*Spec, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.specs[protocol]
	return s, ok
}

// List returns all specifications, sorted by protocol.
func (r *Registry) List() []*Spec {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(r.specs), func(a, b *Spec) int { return strings.Compare(a.Protocol, b.Protocol) })
}

// Method returns the method with the name or alias, and its canonical name,
// which for an open method ("mcp/tool.*") is the name itself.
func (r *Registry) Method(name string) (m *Method, canonical string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if m = r.methods[name]; m != nil && !strings.HasSuffix(m.Name, "*") {
		return m, m.Name, true
	}
	for _, m := range r.open {
		if prefix := strings.TrimSuffix(m.Name, "*"); strings.HasPrefix(name, prefix) && len(name) > len(prefix) && name != m.Name {
			return m, name, true
		}
	}
	return nil, "", false
}

// methodNames returns the names of a protocol's methods, without its own name
// if short.
func (r *Registry) methodNames(protocol string) []string {
	spec, ok := r.Get(protocol)
	if !ok {
		return nil
	}
	var names []string
	for _, m := range spec.Methods {
		names = append(names, strings.Replace(m.Name, "*", "NAME", 1))
	}
	return names
}

// CheckParameters checks a call's parameters, a JSON object without
// references, against the method's schema. The error is TASK_PARAMETER_ERROR
// and lists every violation, in its message and as data.violations.
func (r *Registry) CheckParameters(method string, params json.RawMessage) *Error {
	m, err := r.loaded(method)
	if err != nil {
		return err
	}
	if !json.Valid(params) {
		return Errorf(TaskParameterError, "the parameters of %s are not JSON", method)
	}
	return violated(TaskParameterError, method, m.parameters.check(params, checkOptions{what: method, member: "parameter", anyText: true}))
}

// CheckResult checks what a method returned against its schema. The error is
// TASK_RESULT_INVALID and lists every violation.
func (r *Registry) CheckResult(method string, result json.RawMessage) *Error {
	m, err := r.loaded(method)
	if err != nil {
		return err
	}
	if !json.Valid(result) {
		return Errorf(TaskResultInvalid, "the result of %s is not JSON", method)
	}
	return violated(TaskResultInvalid, "the result of "+method, m.result.check(result, checkOptions{what: "it", member: "key"}))
}

func (r *Registry) loaded(method string) (*Method, *Error) {
	m, _, ok := r.Method(method)
	if !ok {
		return nil, Errorf(MethodNotFound, "unknown method %s", quoted(method))
	}
	if err := m.load(); err != nil {
		return nil, Errorf(InternalError, "%v", err)
	}
	return m, nil
}

// violated makes one error of violations, nil of none.
func violated(code Code, what string, vs []violation) *Error {
	if len(vs) == 0 {
		return nil
	}
	texts := make([]string, len(vs))
	for i, v := range vs {
		texts[i] = v.String()
	}
	return Errorf(code, "%s: %s", what, strings.Join(texts, "; ")).With(map[string]any{"violations": texts})
}
