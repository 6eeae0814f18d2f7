package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// echoSetup is a setup with the echo provider alone.
var echoSetup = replay.Setup{Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 1 << 20}}}

// modelSetup is a setup with a language model whose breaker opens soon.
var modelSetup = replay.Setup{Providers: []replay.ProviderSlots{{Name: "far", Protocol: "llm/v1", Slots: 2, ID: "far-1",
	Rate:    &replay.Rate{N: 1000, Per: protocols.Duration(time.Second), Burst: 2},
	Breaker: &replay.Breaker{Failures: 2, Open: protocols.Duration(3 * time.Millisecond), Successes: 2}}}}

// agentSetup is one with both.
var agentSetup = replay.Setup{Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 9},
	{Name: "far", Protocol: "llm/v1", Slots: 2, ID: "far-2"}}}

// chat is a model that says what it was told, for 20 tokens; it can't be
// reached as often as it was told.
func chat(call providers.Call) (json.RawMessage, error) {
	var p struct {
		Prompt   json.RawMessage              `json:"prompt"`
		Messages []map[string]json.RawMessage `json:"messages"`
		Tools    []json.RawMessage            `json:"tools"`
	}
	if err := json.Unmarshal(call.Parameters, &p); err != nil {
		return nil, err
	}
	if len(p.Messages) > 0 {
		return agentTurn(p.Messages, len(p.Tools) > 0), nil
	}
	times := 0
	if _, err := fmt.Sscanf(string(p.Prompt), `"fail %d times"`, &times); err == nil && known(call.Key) <= times {
		return nil, protocols.Errorf(protocols.ConnectionRefused, "nobody is there").With(map[string]any{"usage": map[string]int{"total_tokens": 20}})
	}
	return json.RawMessage(fmt.Sprintf(`{"content":%s,"usage":{"total_tokens":20}}`, p.Prompt)), nil
}

// agentTurn is a turn of an agent's model: it has its tool called twice, in two
// turns, and then says what it was told.
func agentTurn(messages []map[string]json.RawMessage, tools bool) json.RawMessage {
	if tools && len(messages) < 7 {
		call := fmt.Sprintf(`{"function":{"name":"say","arguments":{"n":%d}}}`, len(messages))
		return json.RawMessage(`{"content":"","tool_calls":[` + call + "," + call + `],"usage":{"total_tokens":20}}`)
	}
	told := ""
	for _, m := range messages {
		if string(m["role"]) == `"tool"` {
			var text string
			json.Unmarshal(m["content"], &text)
			told += text
		}
	}
	raw, _ := json.Marshal(told)
	return json.RawMessage(fmt.Sprintf(`{"content":%s,"usage":{"total_tokens":20}}`, raw))
}

// calls is an echo provider that remembers what it was asked to do. It fails
// `times` times per key group for echo/fail, or always when times is absent.
type calls struct {
	workflow *protocols.Workflow
	mu       sync.Mutex
	tasks    map[string]int // by id
	made     map[string]int // by the run's id and the task's
}

func (c *calls) open([]byte) (Providers, error) { return c, nil }

func (c *calls) Close() error { return nil }

// seen returns how often each task was called.
func (c *calls) seen() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tasks
}

// runs returns how often each task of each run was called.
func (c *calls) runs() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made
}

func (c *calls) Call(ctx context.Context, name string, call providers.Call, host providers.Host) (json.RawMessage, error) {
	c.note(call)
	if call.Method == "llm/chat" {
		if strings.Contains(string(call.Parameters), "talk") {
			host.Progress(providers.Progress{Stream: "tokens", Message: strings.Repeat("word ", sayBytes/5+1)})
		}
		return chat(call)
	}
	if call.Method == "echo/ask" {
		return askTwice(ctx, call, host)
	}
	if call.Method != "echo/fail" {
		return call.Parameters, nil
	}
	var p struct {
		Times   *int   `json:"times"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(call.Parameters, &p); err != nil {
		return nil, err
	}
	if p.Times != nil && known(call.Key) > *p.Times {
		return json.RawMessage(`{"ok":true}`), nil
	}
	return nil, protocols.Errorf(protocols.TaskExecutionFailed, "%s", p.Message)
}

// askTwice asks a person one thing after the other, and the same again.
func askTwice(ctx context.Context, call providers.Call, host providers.Host) (json.RawMessage, error) {
	var all []providers.Answer
	for _, message := range []string{"where?", "sure?", "where?"} {
		a, err := host.Ask(ctx, providers.Question{Message: message, Schema: json.RawMessage(`{"type":"object","properties":{"city":{"default":"Ulm"}}}`)})
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return json.Marshal(map[string]any{"answers": all})
}

// known is the attempt group that ends an idempotency key: how many outcomes
// are known, plus one.
func known(key string) (group int) {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '-' {
			fmt.Sscan(key[i+1:], &group)
			return group
		}
	}
	return 0
}

func (c *calls) note(call providers.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tasks == nil {
		c.tasks, c.made = map[string]int{}, map[string]int{}
	}
	c.tasks[call.Task]++
	c.made[call.Run+" "+call.Task]++
}
