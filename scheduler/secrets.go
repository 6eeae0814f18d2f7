package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file finds out which secrets there have to be. A secret is known by its
// reference everywhere: "env:NAME", or "file:PATH" and "age:PATH" with a path
// that means the same to whoever reads it. Only a worker, for the time of its
// call, puts in what it is.

// CheckSecret refuses a text that can't be a secret.
func CheckSecret(value string) error {
	switch {
	case len([]rune(value)) < minSecret:
		return fmt.Errorf("it has fewer than %d characters: nobody could keep that out of the history", minSecret)
	case len(value) > maxSecret:
		return fmt.Errorf("it has %d bytes, the limit is %d", len(value), maxSecret)
	case !isText(value):
		return fmt.Errorf("it is no text (UTF-8)")
	}
	return nil
}

// maxSecret is the size of one secret, in bytes.
const maxSecret = 64 << 10

func isText(s string) bool { return strings.ToValidUTF8(s, "") == s && !strings.ContainsRune(s, 0) }

// Reference is what the secret is known by whose source stands in a workflow of
// the folder dir.
func Reference(source, dir string) string {
	kind, path, _ := strings.Cut(source, ":")
	if kind == "env" || filepath.IsAbs(path) || strings.HasPrefix(path, "~/") {
		return source
	}
	return kind + ":" + filepath.Join(dir, path)
}

// References returns the references of all secrets that a run of the plan, and
// the runs that it starts, may need, sorted. child reads the document of one
// of those. A secret that is declared nowhere is an error.
func References(plan *replay.Plan, c replay.Context, child func(replay.Child) (*protocols.Workflow, error)) ([]string, error) {
	all := map[string]bool{}
	if err := ownReferences(plan, c.Inputs, c.Dir, all); err != nil {
		return nil, err
	}
	for _, place := range slices.Sorted(maps.Keys(c.Children)) {
		w, err := child(c.Children[place])
		if err != nil {
			return nil, err
		}
		plan, err := replay.NewPlan(eventlog.Hash{}, w, plan.SetupHash, plan.Setup)
		if err != nil {
			return nil, err
		}
		if err := ownReferences(plan, nil, c.Children[place].Dir, all); err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// ownReferences adds those of one document. Inputs that are not there have
// their defaults.
func ownReferences(plan *replay.Plan, inputs map[string]json.RawMessage, dir string, all map[string]bool) error {
	w := plan.Workflow
	given := map[string]json.RawMessage{}
	for _, in := range w.Inputs {
		if in.Default != nil {
			given[in.Name] = in.Default
		}
	}
	maps.Copy(given, inputs)
	known, err := secretsOf(plan, w.SecretRefs, given, dir)
	if err != nil {
		return err
	}
	for _, ref := range known {
		all[ref] = true
	}
	for i, t := range w.Tasks {
		for _, ref := range configured(plan, i, "") {
			all[ref] = true
		}
		if t.Protocol == replay.WorkflowProtocol {
			for _, ref := range handedOn(t, dir) {
				all[ref] = true
			}
		}
	}
	return nil
}

// secretsOf returns the references of the secrets with these names; an input
// that was not given has none.
func secretsOf(plan *replay.Plan, names []string, inputs map[string]json.RawMessage, dir string) (map[string]string, error) {
	refs := make(map[string]string, len(names))
	for _, name := range names {
		source, declared := plan.Workflow.SecretSource(name, inputs)
		if _, isInput := strings.CutPrefix(name, "inputs."); isInput && !declared {
			continue
		}
		if !declared {
			if source, declared = plan.Setup.Secrets[name]; !declared {
				return nil, protocols.Errorf(protocols.TaskParameterError,
					"the secret %q is declared nowhere: say where it is under secrets, in the workflow or in gleitzeit.yaml", name)
			}
		}
		refs[name] = Reference(source, dir)
		if err := checkReference(name, refs[name]); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// configured returns the references of the secrets that the configuration of
// the task's provider names; "" for a provider that isn't chosen yet.
func configured(plan *replay.Plan, task int, provider string) (refs []string) {
	for _, name := range plan.Secrets(task, provider) {
		refs = append(refs, plan.Setup.Secrets[name])
	}
	return refs
}

// handedOn returns the references that a task of workflow/v1 hands on
// literally.
func handedOn(t *protocols.Task, dir string) (refs []string) {
	var p childParams
	if json.Unmarshal(t.Parameters, &p) != nil {
		return nil
	}
	for _, raw := range p.Inputs {
		var text string
		if json.Unmarshal(raw, &text) == nil && protocols.IsSecretSource(text) {
			refs = append(refs, Reference(text, dir))
		}
	}
	return refs
}

// errLacks says that an attempt can't begin: nobody has offered these.
type errLacks []string

func (e errLacks) Error() string { return "the secrets " + strings.Join(e, ", ") + " are not at hand" }

// opened are the secrets of one call.
type opened struct {
	values     map[string]string // by the names that the document has for them
	references map[string]string // of the same
}

// openSecrets finds the secrets that the task's call needs. The error is
// errLacks when some are not at hand.
func (s *Scheduler) openSecrets(j job, c replay.Context) (o opened, err error) {
	names, err := j.plan.Workflow.TaskSecrets(j.def, s.opts.Registry)
	if err != nil {
		return o, err
	}
	if o.references, err = secretsOf(j.plan, names, c.Inputs, c.Dir); err != nil {
		return o, err
	}
	var lacks errLacks
	o.values = make(map[string]string, len(names))
	for name, ref := range o.references {
		value, found := s.secret(j, ref)
		if !found {
			lacks = append(lacks, ref)
		}
		o.values[name] = value
	}
	for _, ref := range configured(j.plan, j.form, j.provider) {
		if _, found := s.secret(j, ref); !found {
			lacks = append(lacks, ref)
		}
	}
	if len(lacks) > 0 {
		slices.Sort(lacks)
		return o, slices.Compact(lacks)
	}
	return o, nil
}

// secret finds a secret that somebody has offered to the run, or, if a schedule
// started it, looks for it here.
func (s *Scheduler) secret(j job, reference string) (string, bool) {
	value, found := s.vault.find(j.family, reference)
	if found || !j.scheduled || s.opts.Secrets == nil {
		return value, found
	}
	own := s.opts.Secrets([]string{reference})
	if value, found = own[reference]; found {
		s.vault.offer(j.run, map[string]string{reference: value})
	}
	return value, found
}

// ConfiguredSecret finds ${secrets.NAME} in a text of the configuration.
var ConfiguredSecret = regexp.MustCompile(`\$\{\s*secrets\.([A-Za-z_][A-Za-z0-9_-]*)\s*\}`)

// configuration is the setup's, with the secrets that the run has put in, and
// what tells it from that of runs with other ones. It never leaves the process.
func (s *Scheduler) configuration(j job) (eventlog.Hash, json.RawMessage) {
	setup := j.plan.Setup
	if len(setup.Secrets) == 0 || !bytes.Contains(setup.Config, []byte("${")) {
		return j.plan.SetupHash, setup.Config
	}
	config := ConfiguredSecret.ReplaceAllFunc(setup.Config, func(text []byte) []byte {
		value, found := s.vault.find(j.family, setup.Secrets[string(ConfiguredSecret.FindSubmatch(text)[1])])
		if !found {
			return text
		}
		return []byte(quotedJSON(value))
	})
	return eventlog.Sum(config), config
}

// handOn turns the inputs of a child run that are secrets into references that
// mean the same everywhere. What the run didn't say itself it doesn't hand on:
// nobody but the workflow's author chooses which secret is opened.
func handOn(j job, c replay.Context, w *protocols.Workflow, inputs map[string]json.RawMessage) error {
	own, err := secretsOf(j.plan, j.plan.Workflow.SecretRefs, c.Inputs, c.Dir)
	if err != nil {
		return err
	}
	may := append(handedOn(j.plan.Task(j.form), c.Dir), slices.Collect(maps.Values(own))...)
	for _, in := range w.Inputs {
		var source string
		raw, given := inputs[in.Name]
		if !in.Secret || !given || json.Unmarshal(raw, &source) != nil || !protocols.IsSecretSource(source) {
			continue // what is wrong with it is told when the inputs are checked
		}
		ref := Reference(source, c.Dir)
		if !slices.Contains(may, ref) {
			return protocols.Errorf(protocols.TaskParameterError,
				"the input %q is a secret: hand on ${secrets.NAME} or a secret input, or say literally where it is", in.Name)
		}
		inputs[in.Name] = json.RawMessage(`"` + quotedJSON(ref) + `"`)
	}
	return nil
}
