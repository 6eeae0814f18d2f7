package cli

import (
	"encoding/json"
	"fmt"

	"gleitzeit/replay"
)

// This file folds the instances of foreaches, of which there may be thousands,
// and the steps of agents: they are shown as one task's progress.

// fold leaves out the instances of foreaches and the steps of agents.
func fold(v *replay.RunView) *replay.RunView {
	folded := *v
	folded.Tasks = nil
	for _, t := range v.Tasks {
		if t.Of == "" {
			folded.Tasks = append(folded.Tasks, t)
		}
	}
	return &folded
}

// foldUnless is fold, unless all is to be shown.
func foldUnless(v *replay.RunView, all bool) *replay.RunView {
	if all {
		return v
	}
	return fold(v)
}

// inOrder returns the tasks in the order of the file, each followed by its
// instances or steps.
func inOrder(tasks []replay.TaskView) (ordered []replay.TaskView) {
	parts := map[string][]replay.TaskView{}
	for _, t := range tasks {
		parts[t.Of] = append(parts[t.Of], t)
	}
	var add func(of string)
	add = func(of string) {
		for _, t := range parts[of] {
			ordered = append(ordered, t)
			add(t.ID)
		}
	}
	add("")
	return ordered
}

// resultOf is a task's result, null if there is none. That of an instance is,
// once all have ended, kept in the list that is its foreach's.
func resultOf(v *replay.RunView, t replay.TaskView) json.RawMessage {
	if len(t.Result) > 0 || t.Of == "" {
		return orNull(t.Result)
	}
	var all []json.RawMessage
	index := 0
	for _, one := range v.Tasks {
		switch {
		case one.ID == t.Of:
			_ = json.Unmarshal(one.Result, &all) // without a result there is no list
		case one.ID == t.ID && index < len(all):
			return orNull(all[index])
		case one.Of == t.Of:
			index++
		}
	}
	return orNull(nil)
}

// progressOfItems says for each foreach that has its items, and for each agent
// that has begun, how far it is.
func progressOfItems(v *replay.RunView) map[string]string {
	counts := map[string]map[string]int{}
	for _, t := range v.Tasks {
		if t.Items > 0 {
			counts[t.ID] = map[string]int{}
		}
		if of := counts[t.Of]; of != nil {
			of[t.Status.String()]++
		}
	}
	texts := map[string]string{}
	for _, t := range v.Tasks {
		if t.Items > 0 {
			texts[t.ID] = itemsText(t.Items, counts[t.ID])
		} else if t.Turn > 0 {
			texts[t.ID] = fmt.Sprintf("turn %d", t.Turn)
		}
	}
	return texts
}

// itemsText is how far a foreach is, and what went wrong: 37/100, 2 failed.
func itemsText(all int, counts map[string]int) string {
	ended := 0
	for _, status := range []string{"completed", "failed", "skipped", "cancelled"} {
		ended += counts[status]
	}
	text := fmt.Sprintf("%d/%d", ended, all)
	for _, status := range []string{"failed", "skipped", "cancelled", "waiting", "retrying", "in_doubt"} {
		if n := counts[status]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, status)
		}
	}
	return text
}
