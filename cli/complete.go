package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// completeCmd answers the completion scripts: what could the last word be?
type completeCmd struct {
	Words []string `arg:"" optional:""`
}

// candidate is a word that could stand there, and what it means.
type candidate struct{ word, help string }

// files stands for the names of files, which shells know best.
var files = []candidate{{word: ":files"}}

// Run prints one candidate a line. It never fails: there is nobody to tell.
func (c *completeCmd) Run(s *session) error {
	words := c.Words
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	for _, one := range s.candidates(words[:len(words)-1], last) {
		if one.word == ":files" || strings.HasPrefix(one.word, last) {
			fmt.Fprintf(s.env.stdout, "%s\t%s\n", one.word, one.help)
		}
	}
	return nil
}

// candidates follows the words through the grammar to what may come next.
func (s *session) candidates(before []string, last string) []candidate {
	node, positional := s.model.Node, 0
	var waiting *kong.Flag // for its value
	for _, word := range before {
		switch {
		case waiting != nil:
			waiting = nil
		case strings.HasPrefix(word, "-"):
			waiting = valueFlag(node, word)
		case child(node, word) != nil:
			node, positional = child(node, word), 0
		default:
			positional++
		}
	}
	switch {
	case waiting != nil:
		return flagValues(node, waiting)
	case strings.HasPrefix(last, "-"):
		return flagNames(node)
	case !node.Leaf():
		return commandNames(node)
	case len(node.Positional) > 0:
		return s.arguments(node.Positional[min(positional, len(node.Positional)-1)])
	}
	return nil
}

func child(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// valueFlag returns the flag that the word is, if its value is the next word.
func valueFlag(n *kong.Node, word string) *kong.Flag {
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			if !f.IsBool() && (word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short)) {
				return f
			}
		}
	}
	return nil
}

func flagNames(n *kong.Node) (found []candidate) {
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			found = append(found, candidate{"--" + f.Name, f.Help})
		}
	}
	return found
}

func commandNames(n *kong.Node) (found []candidate) {
	for _, c := range n.Children {
		if !c.Hidden {
			found = append(found, candidate{c.Name, c.Help})
		}
	}
	return found
}

func flagValues(n *kong.Node, f *kong.Flag) []candidate {
	switch {
	case f.Name == "output" && n.Name == "graph":
		return append(plainWords(formats), plainWords(graphFormats)...)
	case f.Name == "output":
		return plainWords(formats)
	case f.Name == "log-level":
		return plainWords(logLevels)
	case f.Enum != "":
		return plainWords(strings.Split(f.Enum, ","))
	case f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR":
		return files
	}
	return nil
}

func plainWords(words []string) (found []candidate) {
	for _, w := range words {
		found = append(found, candidate{word: w})
	}
	return found
}

// arguments are the words that could be an argument.
func (s *session) arguments(p *kong.Positional) []candidate {
	switch {
	case p.Name == "id":
		return s.runIDs()
	case p.Enum != "":
		return plainWords(strings.Split(p.Enum, ","))
	case p.Name == "file":
		return files
	}
	return nil
}

// runIDs are the ids of the newest runs. Whoever presses a key won't wait.
func (s *session) runIDs() []candidate {
	c, err := loadConfig(s.env, s.globals, "")
	if err != nil {
		return nil
	}
	ctx, enough := context.WithTimeout(context.Background(), time.Second)
	defer enough()
	found := []candidate{{"@last", "the newest run"}}
	_ = s.use(ctx, c, looks, func(store *client.Client) error {
		runs, err := listRuns(ctx, store, server.ListParams{}, 50)
		for _, v := range runs {
			found = append(found, candidate{v.ID, summary(v)})
		}
		return err
	})
	return found
}

func summary(v *replay.RunView) string { return fmt.Sprintf("%s, %s", v.Name, v.Status) }
