package providers

import (
	"maps"
	"slices"
	"strings"

	"gleitzeit/protocols"
)

// This file is the table of what llm/v1 calls a sampling parameter and what
// each kind of server does. A parameter that a server hasn't is refused before
// the call: an answer that was sampled otherwise than asked for looks like any
// other.

// samplingNames has the server's names by llm/v1's own.
type samplingNames map[string][]string

// ollamaSampling are names of options.
var ollamaSampling = samplingNames{
	"temperature": {"temperature"}, "max_tokens": {"num_predict"}, "top_p": {"top_p"}, "top_k": {"top_k"},
	"min_p": {"min_p"}, "seed": {"seed"}, "stop": {"stop"}, "presence_penalty": {"presence_penalty"},
	"frequency_penalty": {"frequency_penalty"}, "repeat_penalty": {"repeat_penalty"}, "mirostat": {"mirostat"},
	"mirostat_tau": {"mirostat_tau"}, "mirostat_eta": {"mirostat_eta"}, "num_ctx": {"num_ctx"},
}

// openAISampling has what OpenAI has, and what vLLM and llama.cpp have
// besides; these differ in the name of one, so it is sent by both. A server
// that hasn't one says so itself. None takes the size of the context.
var openAISampling = samplingNames{
	"temperature": {"temperature"}, "max_tokens": {"max_tokens"}, "top_p": {"top_p"}, "top_k": {"top_k"},
	"min_p": {"min_p"}, "seed": {"seed"}, "stop": {"stop"}, "presence_penalty": {"presence_penalty"},
	"frequency_penalty": {"frequency_penalty"}, "repeat_penalty": {"repeat_penalty", "repetition_penalty"},
	"mirostat": {"mirostat"}, "mirostat_tau": {"mirostat_tau"}, "mirostat_eta": {"mirostat_eta"},
}

var anthropicSampling = samplingNames{
	"temperature": {"temperature"}, "max_tokens": {"max_tokens"}, "top_p": {"top_p"}, "top_k": {"top_k"},
	"stop": {"stop_sequences"},
}

// given are the parameters that the task has, by llm/v1's names.
func (s *llmSampling) given() map[string]any {
	all := map[string]any{}
	set(all, "temperature", s.Temperature)
	set(all, "max_tokens", s.MaxTokens)
	set(all, "top_p", s.TopP)
	set(all, "top_k", s.TopK)
	set(all, "min_p", s.MinP)
	set(all, "seed", s.Seed)
	set(all, "presence_penalty", s.PresencePenalty)
	set(all, "frequency_penalty", s.FrequencyPenalty)
	set(all, "repeat_penalty", s.RepeatPenalty)
	set(all, "mirostat", s.Mirostat)
	set(all, "mirostat_tau", s.MirostatTau)
	set(all, "mirostat_eta", s.MirostatEta)
	set(all, "num_ctx", s.NumCtx)
	if len(s.Stop.List) > 0 {
		all["stop"] = s.Stop.List
	}
	return all
}

func set[T any](to map[string]any, name string, value *T) {
	if value != nil {
		to[name] = *value
	}
}

// put writes them over the server's own options, by the server's names.
func (s *llmSampling) put(to map[string]any, names samplingNames) {
	for name, value := range s.given() {
		for _, theirs := range names[name] {
			to[theirs] = value
		}
	}
}

// refuse names what a server of the kind can't do, nil if there is nothing.
func (s *llmSampling) refuse(kind string, names samplingNames) error {
	var strange []string
	for _, name := range slices.Sorted(maps.Keys(s.given())) {
		if names[name] == nil {
			strange = append(strange, name)
		}
	}
	if strange == nil {
		return nil
	}
	return protocols.Errorf(protocols.TaskParameterError, "an %s can't be given %s; leave it out, or choose another provider",
		kind, strings.Join(strange, ", ")).With(map[string]any{"parameters": strange})
}
