package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/replay"
)

// This file makes of a run that has ended what the model reads.

// outcome is the result of a run that has ended.
func outcome(v *replay.RunView) *sdk.CallToolResult {
	if v.Status != replay.Completed {
		return about(said("%s", failure(v)), v.ID, string(v.Status))
	}
	if blocks := contentIn(v.Whole()); blocks != nil {
		return about(&sdk.CallToolResult{Content: blocks}, v.ID, string(v.Status))
	}
	r := &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: resultText(v)}}}
	if s := structured(v); s != nil {
		r.StructuredContent = s
	}
	return about(r, v.ID, string(v.Status))
}

// contentIn returns the content of a value that has some as the protocol has
// it, as the result of an MCP tool does: {content: [{type: image, …}, …]}.
func contentIn(whole json.RawMessage) []sdk.Content {
	var has struct {
		Content []struct {
			Type string `json:"type"`
		} `json:"content"`
	}
	if json.Unmarshal(whole, &has) != nil || len(has.Content) == 0 {
		return nil
	}
	for _, block := range has.Content {
		if !slices.Contains([]string{"text", "image", "audio", "resource", "resource_link"}, block.Type) {
			return nil
		}
	}
	var r sdk.CallToolResult
	i := slices.IndexFunc(replay.Members(whole), func(m replay.Result) bool { return m.Name == "content" })
	raw, err := json.Marshal(map[string]json.RawMessage{"content": replay.Members(whole)[i].Value})
	if err != nil || json.Unmarshal(raw, &r) != nil {
		return nil
	}
	return r.Content
}

// structured is a result that is an object: the protocol has no other.
func structured(v *replay.RunView) json.RawMessage {
	if v.Outputs != nil {
		return v.Outputs
	}
	if parts := v.Results(); len(parts) == 1 && bytes.HasPrefix(parts[0].Value, []byte("{")) {
		return parts[0].Value
	}
	return nil
}

// resultText is a run's result as the command line shows it.
func resultText(v *replay.RunView) string {
	parts := v.Results()
	if len(parts) == 1 {
		return strings.TrimSuffix(replay.Text(parts[0].Value), "\n")
	}
	var lines []string
	for _, one := range parts {
		text := strings.TrimRight(replay.Text(one.Value), "\n")
		if strings.Contains(text, "\n") {
			text = "\n  " + strings.ReplaceAll(text, "\n", "\n  ")
		} else {
			text = " " + text
		}
		lines = append(lines, one.Name+":"+text)
	}
	return strings.Join(lines, "\n")
}

// failure says why a run has no result.
func failure(v *replay.RunView) string {
	text := fmt.Sprintf("run %s %s", v.ID, v.Status)
	if v.Error != nil {
		text += ": " + v.Error.Message
	}
	for _, t := range v.Tasks {
		if t.Status == replay.TaskIsFailed && t.Error != nil {
			text += fmt.Sprintf("\ntask %s: %s (%s)", t.ID, t.Error.Message, t.Error.Code)
		}
	}
	return text
}

// shorten makes one line of a text, of at most so many letters.
func shorten(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
