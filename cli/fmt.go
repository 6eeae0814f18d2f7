package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gleitzeit/protocols"
)

// fmtCmd rewrites workflow files.
type fmtCmd struct {
	Files []string `arg:"" name:"file" help:"Workflow files; - is standard input."`
	Write bool     `short:"w" xor:"how" help:"Write the files instead of printing them."`
	Check bool     `xor:"how" help:"Print only the names of files that would change; exit with 9 if there are any."`
}

// Help shows how it is used.
func (fmtCmd) Help() string {
	return `Aliases become canonical keys (steps: tasks, needs: dependencies, …). Comments stay.

Examples:

	gleitzeit fmt flow.yaml
	gleitzeit fmt -w examples/*.yaml
	gleitzeit fmt --check *.yaml`
}

// Run does it.
func (c *fmtCmd) Run(s *session) error {
	var changed []string
	var wrong protocols.Problems
	for _, name := range c.Files {
		different, err := c.format(s, name)
		var problems protocols.Problems
		if errors.As(err, &problems) {
			wrong = append(wrong, problems...)
		} else if err != nil {
			return usage(err)
		}
		if different {
			changed = append(changed, name)
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	if c.Check && len(changed) > 0 {
		err := s.print.show(changed, func(w io.Writer) {
			for _, name := range changed {
				fmt.Fprintln(w, name)
			}
		})
		return errors.Join(err, silently(exitMismatch))
	}
	return nil
}

// format does one file, and tells whether it changes.
func (c *fmtCmd) format(s *session, name string) (bool, error) {
	f, err := readWorkflow(s.env, name)
	if err != nil {
		return false, err
	}
	text, problems := protocols.Format(f.name, f.data)
	if err := problems.Err(); err != nil {
		return false, err
	}
	different := !bytes.Equal(text, f.data)
	switch {
	case c.Check:
		return different, nil
	case c.Write && name != "-":
		if !different {
			return false, nil
		}
		s.print.say("%s", name)
		return true, replaceFile(s.env.expand(name, s.env.cwd), text)
	}
	_, err = s.print.out.Write(text)
	return different, err
}

// replaceFile gives the file another content, or leaves it as it was.
func replaceFile(path string, content []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".gleitzeit-fmt-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // there is nothing left of it when all went well
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Chmod(info.Mode().Perm()), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
