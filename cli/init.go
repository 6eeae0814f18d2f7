package cli

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// starters are the files that init writes, a folder for each type. NAME in
// them stands for the workflow's name.
//
//go:embed starters
var starters embed.FS

// initCmd writes a workflow to start from.
type initCmd struct {
	Name string `arg:"" help:"Name of the workflow; NAME.yaml is written."`
	Type string `enum:"python,llm,mixed,mcp" default:"python" help:"What it does: python, llm, mixed or mcp."`
}

// Help shows how it is used.
func (initCmd) Help() string {
	return `Nothing is ever overwritten.

Examples:

	gleitzeit init hello && gleitzeit run hello.yaml
	gleitzeit init review --type llm
	gleitzeit init tools --type mcp`
}

var starterName = regexp.MustCompile(`^[\pL\pN_][\pL\pN_. -]*$`)

// written is what init tells of a file.
type written struct {
	File string `json:"file"`
}

// Run does it.
func (c *initCmd) Run(s *session) error {
	name := strings.TrimSuffix(c.Name, ".yaml")
	if !starterName.MatchString(name) {
		return usage(fmt.Errorf("%q can't be the name of a workflow and its file: use letters, digits, '-', '_' and '.'", c.Name))
	}
	made, err := writeStarter(s.env.cwd, name, c.Type)
	if err != nil {
		return err
	}
	err = s.print.show(made, func(w io.Writer) {
		for _, f := range made {
			fmt.Fprintln(w, f.File)
		}
	})
	s.print.say("Try: gleitzeit run %s.yaml", name)
	return err
}

// writeStarter writes all files of a type or none.
func writeStarter(dir, name, kind string) (made []written, err error) {
	folder := path.Join("starters", kind)
	entries, err := starters.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, e := range entries {
		data, err := starters.ReadFile(path.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		texts[strings.ReplaceAll(e.Name(), "NAME", name)] = strings.ReplaceAll(string(data), "NAME", name)
	}
	for _, file := range sortedNames(texts) {
		if _, err := os.Lstat(filepath.Join(dir, file)); !errors.Is(err, fs.ErrNotExist) {
			return nil, usage(fmt.Errorf("%s is there already; init overwrites nothing", file))
		}
	}
	for _, file := range sortedNames(texts) {
		if err := writeNew(filepath.Join(dir, file), texts[file]); err != nil {
			return nil, err
		}
		made = append(made, written{file})
	}
	return made, nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}
