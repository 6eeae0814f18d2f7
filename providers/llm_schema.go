package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file has a model's answer be JSON that fits a schema: the model is told
// so, by the server's own means and in words, its answer is checked, and what
// doesn't fit is given back to it with the reasons, a few times.

// maxRepairs is how often a model is told what was wrong with its answer.
const maxRepairs = 2

// promise notes the schema that the answer must fit.
func (r *llmRequest) promise(schema json.RawMessage) error {
	if len(schema) == 0 || r.Method == "llm/embed" {
		return nil
	}
	if len(r.Format) > 0 {
		return protocols.Errorf(protocols.TaskParameterError,
			"%s has both output_schema and the parameter format; output_schema is enough", r.Method)
	}
	r.Schema, r.Format = schema, schema
	if r.anyJSON() {
		r.Format = json.RawMessage(`"json"`)
	}
	return nil
}

// anyJSON tells whether any JSON will do.
func (r *llmRequest) anyJSON() bool { return string(r.Schema) == "{}" }

// instruct tells the model in words what is wanted: servers that force an
// answer into its form often don't show the model which form that is.
func (r *llmRequest) instruct() {
	words := "Answer with JSON only, without any other text."
	if len(r.Schema) > 0 && !r.anyJSON() {
		words = "Answer with JSON only, without any other text. It must fit this JSON Schema:\n" + string(r.Schema)
	}
	switch {
	case len(r.Messages) == 0:
		r.System = paragraphs(r.System, words)
	case r.Messages[0].Role == "system":
		r.Messages[0].Content = llmText(paragraphs(string(r.Messages[0].Content), words))
	default:
		r.Messages = append([]llmMessage{{Role: "system", Content: llmText(words)}}, r.Messages...)
	}
}

func paragraphs(first, second string) string {
	if first == "" {
		return second
	}
	return first + "\n\n" + second
}

// converse asks the model, and again while its answer doesn't fit.
func (p *llmProvider) converse(ctx context.Context, r *llmRequest, key string, host Host) (json.RawMessage, error) {
	if r.Schema != nil && !p.form.showsSchema(r) {
		r.instruct()
	}
	spent := &llmSpent{server: p.server, model: r.Model, started: time.Now()}
	for round := 0; ; round++ {
		answer := newAnswer(r, host)
		err := p.form.ask(ctx, r, idempotency(key, round), answer)
		answer.show()
		spent.add(answer, err != nil)
		if err != nil {
			return nil, spent.by(err)
		}
		if r.Schema == nil || len(answer.ToolCalls) > 0 {
			return answer.result(p.server.provider, spent)
		}
		parsed, wrong := r.parse(answer.content.String())
		if wrong == nil {
			answer.Parsed = parsed
			return answer.result(p.server.provider, spent)
		}
		if answer.Finish == "length" {
			wrong.Message += "; it was cut off at max_tokens"
		}
		if answer.Finish == "length" || round == maxRepairs {
			return nil, spent.on(wrong)
		}
		host.Progress(Progress{Message: "asking again: " + wrong.Message})
		r.repair(answer.content.String(), wrong)
	}
}

// repair makes the next request: the conversation so far, and what was wrong
// with the answer.
func (r *llmRequest) repair(answer string, wrong *protocols.Error) {
	if len(r.Messages) == 0 {
		r.converse()
	}
	if answer != "" {
		r.Messages = append(r.Messages, llmMessage{Role: "assistant", Content: llmText(answer)})
	}
	r.Messages = append(r.Messages, llmMessage{Role: "user", Content: llmText(fmt.Sprintf(
		"That is not right: %s. Answer again, with the corrected JSON only.", wrong.Message))})
}

// parse finds the JSON in an answer and holds it to the schema.
func (r *llmRequest) parse(text string) (json.RawMessage, *protocols.Error) {
	value := jsonIn(text, !r.anyJSON())
	if value == nil {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "the answer is not JSON")
	}
	if wrong := protocols.CheckOutput(r.Schema, value); wrong != nil {
		wrong.Message = strings.Replace(wrong.Message, "the result", "the answer", 1)
		return nil, wrong
	}
	return value, nil
}

var (
	thoughts = regexp.MustCompile(`(?s)^\s*<think>.*?</think>`)
	fence    = regexp.MustCompile("(?s)```[a-zA-Z]*\\s*\\n(.*?)```")
)

// jsonIn returns the JSON that a text is, or that it has in a Markdown fence,
// or if prose is allowed around it, its first object or list; nil if there is
// none.
func jsonIn(text string, prose bool) json.RawMessage {
	text = strings.TrimSpace(thoughts.ReplaceAllString(text, ""))
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	if m := fence.FindStringSubmatch(text); m != nil && json.Valid([]byte(m[1])) {
		return bytes.TrimSpace([]byte(m[1]))
	}
	if at := strings.IndexAny(text, "{["); prose && at >= 0 {
		var value json.RawMessage
		if json.NewDecoder(strings.NewReader(text[at:])).Decode(&value) == nil {
			return value
		}
	}
	return nil
}
