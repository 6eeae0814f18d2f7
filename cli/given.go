package cli

import (
	"errors"

	"github.com/alecthomas/kong"
)

// given is the text of a flag that can't be empty once the flag is there: an
// unset variable of a shell must not pass for a flag that was left out.
type given string

// Decode reads it from the command line.
func (g *given) Decode(c *kong.DecodeContext) error {
	var text string
	if err := c.Scan.PopValueInto("text", &text); err != nil {
		return err
	}
	if text == "" {
		return errors.New("is empty; say something, or leave the flag out")
	}
	*g = given(text)
	return nil
}
