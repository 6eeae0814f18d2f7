package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/armor"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file opens secrets: in the environment of this command, in files, and
// in files that age has encrypted. What it finds goes to whoever carries the
// run out, and nowhere else; no error here says what a secret is.

// maxSecretFile is the size of a file with one secret, in bytes.
const maxSecretFile = 1 << 20

// notThere says that there is no secret where it should be.
type notThere string

func (e notThere) Error() string { return string(e) }

// secretOpener opens secrets by their references; see scheduler.Reference.
type secretOpener struct {
	env      *environment
	identity string // the file of age's identities, or ""
}

// opener is how this command opens secrets.
func (s *session) opener(c *config) secretOpener { return secretOpener{s.env, c.AgeIdentity} }

// open returns a secret.
func (o secretOpener) open(reference string) (string, error) {
	kind, place, _ := strings.Cut(reference, ":")
	value, err := "", error(nil)
	switch kind {
	case "env":
		if value = o.env.get(place); value == "" {
			return "", notThere("the variable " + place + " is not set")
		}
	case "file":
		value, err = o.file(place)
	case "age":
		value, err = o.encrypted(place)
	default:
		err = fmt.Errorf("it must be env:NAME, file:PATH or age:PATH")
	}
	if err == nil {
		err = scheduler.CheckSecret(value)
	}
	if err != nil {
		return "", err
	}
	return value, nil
}

// file reads a secret from a file; the end of its line is none of it.
func (o secretOpener) file(path string) (string, error) {
	f, err := os.Open(o.env.expand(path, o.env.cwd))
	if errors.Is(err, os.ErrNotExist) {
		return "", notThere(err.Error())
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readSecret(f)
}

// encrypted reads a secret from a file that age has encrypted.
func (o secretOpener) encrypted(path string) (string, error) {
	f, err := os.Open(o.env.expand(path, o.env.cwd))
	if errors.Is(err, os.ErrNotExist) {
		return "", notThere(err.Error())
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	identities, err := o.identities()
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err != nil {
		return "", err
	}
	var in io.Reader = bytes.NewReader(raw)
	if bytes.HasPrefix(raw, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	plain, err := age.Decrypt(in, identities...)
	switch {
	case errors.As(err, new(*age.NoIdentityMatchError)):
		return "", fmt.Errorf("%s does not decrypt it: it was encrypted for somebody else", o.identity)
	case err != nil: // which may quote what is no header
		return "", errors.New("it is no file that age has encrypted")
	}
	value, err := readSecret(plain)
	if err != nil {
		return "", errors.New("it was damaged after age had encrypted it")
	}
	return value, nil
}

// identities reads what opens files that age has encrypted.
func (o secretOpener) identities() ([]age.Identity, error) {
	if o.identity == "" {
		return nil, notThere("nobody said which identity decrypts it: name its file in GLEITZEIT_AGE_IDENTITY or age_identity")
	}
	f, err := os.Open(o.identity)
	if err != nil {
		return nil, fmt.Errorf("the identity for age: %w", err)
	}
	defer f.Close()
	identities, err := age.ParseIdentities(f)
	if err != nil { // which may quote a line of it
		return nil, fmt.Errorf("the identity for age: %s holds none (age-keygen makes one)", o.identity)
	}
	return identities, nil
}

func readSecret(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSecretFile))
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(string(raw), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// all opens every secret; the error names each that can't be.
func (o secretOpener) all(references []string) (map[string]string, error) {
	secrets, wrong := map[string]string{}, []error{}
	for _, ref := range references {
		value, err := o.open(ref)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("the secret %s: %w", ref, err))
			continue
		}
		secrets[ref] = value
	}
	return secrets, errors.Join(wrong...)
}

// offers opens those secrets that are there, and says of the others what is
// wrong unless they are only absent: then the tasks that need them wait and
// say so.
func (s *session) offers(c *config) func(references []string) map[string]string {
	var mu sync.Mutex
	told := map[string]bool{}
	return func(references []string) map[string]string {
		mu.Lock()
		defer mu.Unlock()
		secrets := map[string]string{}
		for _, ref := range references {
			value, err := s.opener(c).open(ref)
			switch {
			case err == nil:
				secrets[ref] = value
			case !errors.As(err, new(notThere)) && !told[ref]:
				told[ref] = true
				s.print.say("%s", s.print.errInk.yellow(clean(fmt.Sprintf("the secret %s: %v", ref, err))))
			}
		}
		return secrets
	}
}

// anchorSecrets makes the paths of inputs that are secrets absolute: whoever
// opens them later may be elsewhere.
func (s *session) anchorSecrets(w *protocols.Workflow, given map[string]json.RawMessage) {
	for _, in := range w.Inputs {
		var source string
		if !in.Secret || json.Unmarshal(given[in.Name], &source) != nil || !protocols.IsSecretSource(source) {
			continue
		}
		if raw, err := json.Marshal(s.env.anchored(source, s.env.cwd)); err == nil {
			given[in.Name] = raw
		}
	}
}

// anchored is the source of a secret with an absolute path, which a person
// wrote below base.
func (e *environment) anchored(source, base string) string {
	kind, path, _ := strings.Cut(source, ":")
	if kind == "env" {
		return source
	}
	return kind + ":" + e.expand(path, base)
}

// undeclared finds the secrets that neither the workflow nor the configuration
// says where they are.
func undeclared(f *workflowFile, c *config, w *protocols.Workflow) (ps protocols.Problems) {
	for _, name := range w.SecretRefs {
		_, known := w.Secrets[name]
		if _, configured := c.Secrets[name]; known || configured || strings.HasPrefix(name, "inputs.") {
			continue
		}
		hint := protocols.Suggest(name, append(sortedNames(w.Secrets), sortedNames(c.Secrets)...))
		if hint == "" {
			hint = fmt.Sprintf("say where it is, here or in %s: secrets: {%s: env:%s}", configName, name, name)
		}
		ps = append(ps, f.problem("secrets."+name, fmt.Sprintf("${secrets.%s}: nobody says where this secret is", name), hint))
	}
	return ps
}

// unknownSecrets is undeclared for a command that has no configuration yet.
func (s *session) unknownSecrets(f *workflowFile, w *protocols.Workflow) protocols.Problems {
	if len(undeclared(f, &config{}, w)) == 0 {
		return nil
	}
	c, err := s.config(f.dir)
	if err != nil {
		return protocols.Problems{f.problem("", fmt.Sprintf("the configuration, which may say where secrets are: %v", err), "")}
	}
	return undeclared(f, c, w)
}

// secretsFor opens the secrets that the run will need.
func (s *session) secretsFor(c *config, p *server.SubmitParams) (map[string]string, error) {
	if p.Workflow != "" {
		return nil, nil // the server's own
	}
	references, err := referencesOf(p)
	if err != nil || len(references) == 0 {
		return nil, err
	}
	secrets, err := s.opener(c).all(references)
	return secrets, usage(err)
}

// referencesOf says where the secrets are that the run will need.
func referencesOf(p *server.SubmitParams) ([]string, error) {
	if !mentionsSecrets(p) {
		return nil, nil
	}
	w, err := protocols.Decode(p.Document)
	if err != nil {
		return nil, err
	}
	plan, err := replay.NewPlan(eventlog.Hash{}, w, eventlog.Hash{}, &p.Setup)
	if err != nil || !plan.MayNeedSecrets() {
		return nil, err
	}
	context := replay.Context{Inputs: p.Inputs, Dir: p.Dir, Children: map[string]replay.Child{}}
	documents := map[eventlog.Hash]json.RawMessage{}
	for place, child := range p.Children {
		hash := eventlog.Sum(child.Document)
		documents[hash] = child.Document
		context.Children[place] = replay.Child{Document: hash, Dir: child.Dir}
	}
	return scheduler.References(plan, context, func(c replay.Child) (*protocols.Workflow, error) {
		return protocols.Decode(documents[c.Document])
	})
}

// mentionsSecrets tells, quickly, whether the run may need any.
func mentionsSecrets(p *server.SubmitParams) bool {
	word := []byte("secret")
	if bytes.Contains(p.Document, word) || len(p.Setup.Secrets) > 0 {
		return true
	}
	for _, child := range p.Children {
		if bytes.Contains(child.Document, word) {
			return true
		}
	}
	return false
}
