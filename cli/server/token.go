package server

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// Token is what somebody may come in with. What the token itself is nobody
// keeps.
type Token struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	By      string    `json:"by,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// Tokens are the tokens of a store, in a folder: each a file that bears the
// SHA-256 hash of the token as its name. So one that comes is looked for by
// its hash alone, one that is removed is worth nothing from then on, and
// nobody who reads the folder can use any. A token is 256 random bits: its
// hash needs no salt and no slowness.
type Tokens struct {
	dir string
}

// NewTokens are the tokens in that folder, which need not be there.
func NewTokens(dir string) *Tokens { return &Tokens{dir} }

// tokenPrefix begins every token, so that one is known when it turns up.
const tokenPrefix = "gz_"

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Create makes a token and returns it. Nobody can ask for it again.
func (t *Tokens) Create(k Token) (secret string, err error) {
	if !tokenName.MatchString(k.Name) {
		return "", fmt.Errorf("%q can't be the name of a token: use letters, digits, dots, _ and -", k.Name)
	}
	if !slices.Contains(Roles(), k.Role) {
		return "", fmt.Errorf("%q is no role: it is one of %v", k.Role, Roles())
	}
	all, err := t.List()
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(all, func(other Token) bool { return other.Name == k.Name }) {
		return "", fmt.Errorf("there is a token %q already: revoke it first, or take another name", k.Name)
	}
	random := make([]byte, 32)
	rand.Read(random)
	secret = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	raw, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	return secret, t.write(t.file(secret), append(raw, '\n'))
}

// write makes the file all at once.
func (t *Tokens) write(file string, data []byte) error {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(t.dir, ".new-") // which nobody else may read
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func (t *Tokens) file(secret string) string {
	hash := sha256.Sum256([]byte(secret))
	return filepath.Join(t.dir, hex.EncodeToString(hash[:])+".json")
}

// Find returns the token that this is.
func (t *Tokens) Find(secret string) (k Token, err error) {
	wrong := protocols.Errorf(protocols.AuthenticationFailed, "the token is not one of this server's, or was revoked or has expired")
	if t == nil || !strings.HasPrefix(secret, tokenPrefix) {
		return k, wrong
	}
	k, err = readToken(t.file(secret))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, wrong
	case err != nil:
		return k, fmt.Errorf("read the token: %w", err)
	case !k.Expires.IsZero() && time.Now().After(k.Expires):
		return k, wrong
	}
	return k, nil
}

func readToken(file string) (k Token, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	return k, json.Unmarshal(raw, &k)
}

// List returns all tokens by name.
func (t *Tokens) List() (all []Token, err error) {
	return all, t.each(func(_ string, k Token) error {
		all = append(all, k)
		slices.SortFunc(all, func(a, b Token) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	})
}

func (t *Tokens) each(f func(file string, k Token) error) error {
	files, err := filepath.Glob(filepath.Join(t.dir, "*.json"))
	for _, file := range files {
		k, unread := readToken(file)
		if err == nil && !errors.Is(unread, fs.ErrNotExist) {
			if err = unread; err == nil {
				err = f(file, k)
			}
		}
	}
	return err
}

// Count is how many tokens let somebody in now.
func (t *Tokens) Count() (n int) {
	if t == nil {
		return 0
	}
	all, _ := t.List()
	for _, k := range all {
		if k.Expires.IsZero() || time.Now().Before(k.Expires) {
			n++
		}
	}
	return n
}

// ErrUnknownToken says that there is no token of that name.
var ErrUnknownToken = errors.New("there is no such token")

// Revoke removes a token: it lets nobody in any more.
func (t *Tokens) Revoke(name string) error {
	found := ErrUnknownToken
	err := t.each(func(file string, k Token) error {
		if k.Name != name {
			return nil
		}
		found = nil
		return os.Remove(file)
	})
	return errors.Join(err, found)
}
