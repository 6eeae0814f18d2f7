package providers

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// This file writes a conversation as Anthropic has it: turns of user and
// assistant alternate, and each is made of blocks. What a tool said is a block
// of the user's.
//
//	assistant  [text] [tool_use id=1] [tool_use id=2]
//	user       [tool_result 1] [tool_result 2] [text] [image]

type anthropicTurn struct {
	Role    string           `json:"role"`
	Content []map[string]any `json:"content"`
}

// anthropicTurns returns the system's messages as one, and all others.
func anthropicTurns(messages []llmMessage) (system string, turns []anthropicTurn) {
	var open []llmToolCall // that have had no answer yet
	turns = []anthropicTurn{}
	for _, m := range messages {
		switch m.Role {
		case "system":
			system = paragraphs(system, string(m.Content))
		case "tool":
			turns = addBlocks(turns, "user", resultBlock(m, &open))
		case "assistant":
			open = nil
			blocks := textAndImages(m)
			for i, c := range m.ToolCalls {
				c.settle(i)
				open = append(open, c)
				blocks = append(blocks, map[string]any{"type": "tool_use", "id": c.ID, "name": c.Function.Name, "input": c.Function.Arguments})
			}
			turns = addBlocks(turns, m.Role, blocks...)
		default:
			turns = addBlocks(turns, m.Role, textAndImages(m)...)
		}
	}
	return system, turns
}

// addBlocks adds to the last turn if it is the same side's. A message without
// anything in it is none.
func addBlocks(turns []anthropicTurn, role string, blocks ...map[string]any) []anthropicTurn {
	if len(blocks) == 0 {
		return turns
	}
	if n := len(turns); n > 0 && turns[n-1].Role == role {
		turns[n-1].Content = append(turns[n-1].Content, blocks...)
		return turns
	}
	return append(turns, anthropicTurn{role, blocks})
}

// resultBlock is a tool's answer. One that doesn't say to which call it belongs
// is taken for the first open one's, of the tool that it names if it does.
func resultBlock(m llmMessage, open *[]llmToolCall) map[string]any {
	id := m.ToolCallID
	for i, c := range *open {
		if id == c.ID || id == "" && (m.ToolName == "" || m.ToolName == c.Function.Name) {
			id = c.ID
			*open = append((*open)[:i:i], (*open)[i+1:]...)
			break
		}
	}
	return map[string]any{"type": "tool_result", "tool_use_id": id, "content": string(m.Content)}
}

func textAndImages(m llmMessage) (blocks []map[string]any) {
	if strings.TrimSpace(string(m.Content)) != "" { // an empty text is refused
		blocks = append(blocks, map[string]any{"type": "text", "text": string(m.Content)})
	}
	for _, image := range m.Images {
		blocks = append(blocks, map[string]any{"type": "image", "source": map[string]string{
			"type": "base64", "media_type": image.mediaType(), "data": base64.StdEncoding.EncodeToString(image)}})
	}
	return blocks
}

// unwrap takes the answer out of the map around it.
func unwrap(input string) string {
	var d struct {
		Value json.RawMessage `json:"value"`
	}
	if json.Unmarshal([]byte(input), &d) == nil && len(d.Value) > 0 {
		return string(d.Value)
	}
	return input
}
