package providers

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gleitzeit/protocols"
)

// This file holds the tools that the Python original answered without any
// server: same arguments, same results, numbers written as Python writes them.

// builtinTool is one of them.
type builtinTool struct {
	name        string
	description string
	arguments   string // JSON Schema
	call        func(arguments map[string]json.RawMessage) (any, error)
}

func builtinTools() []builtinTool {
	return []builtinTool{
		{"echo", "Says its message.", `{"type":"object","properties":{"message":{"type":"string","default":""}}}`, builtinEcho},
		{"add", "Adds two numbers.", `{"type":"object","properties":{"a":{"type":"number","default":0},"b":{"type":"number","default":0}}}`, builtinAdd},
		{"multiply", "Multiplies two numbers.", `{"type":"object","properties":{"a":{"type":"number","default":1},"b":{"type":"number","default":1}}}`, builtinMultiply},
		{"concat", "Joins texts.", `{"type":"object","properties":{"strings":{"type":"array","default":[]},"separator":{"type":"string","default":" "}}}`, builtinConcat},
	}
}

// builtin finds a tool by its name.
func builtin(name string) (builtinTool, bool) {
	tools := builtinTools()
	i := slices.IndexFunc(tools, func(t builtinTool) bool { return t.name == name })
	if i < 0 {
		return builtinTool{}, false
	}
	return tools[i], true
}

func builtinEcho(arguments map[string]json.RawMessage) (any, error) {
	message := ""
	if raw, given := arguments["message"]; given {
		message = pythonText(raw)
	}
	return struct {
		Response string `json:"response"`
		Echoed   bool   `json:"echoed"`
		Length   int    `json:"length"`
	}{message, true, utf8.RuneCountInString(message)}, nil
}

func builtinConcat(arguments map[string]json.RawMessage) (any, error) {
	separator := " "
	if raw, given := arguments["separator"]; given {
		separator = pythonText(raw)
	}
	raw, given := arguments["strings"]
	if !given {
		raw = json.RawMessage("[]")
	}
	var parts []json.RawMessage
	texts := []string{}
	if json.Unmarshal(raw, &parts) != nil || parts == nil {
		parts = []json.RawMessage{raw} // not a list: its text
	}
	for _, part := range parts {
		texts = append(texts, pythonText(part))
	}
	return struct {
		Response string `json:"response"`
		Joined   bool   `json:"joined"`
		Count    int    `json:"count"`
	}{strings.Join(texts, separator), true, len(texts)}, nil
}

func builtinAdd(arguments map[string]json.RawMessage) (any, error) {
	return calculate(arguments, "0", "+", func(a, b *big.Int) *big.Int { return new(big.Int).Add(a, b) },
		func(a, b float64) float64 { return a + b })
}

func builtinMultiply(arguments map[string]json.RawMessage) (any, error) {
	return calculate(arguments, "1", "*", func(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) },
		func(a, b float64) float64 { return a * b })
}

func calculate(arguments map[string]json.RawMessage, fallback, sign string,
	whole func(a, b *big.Int) *big.Int, real func(a, b float64) float64) (any, error) {
	a, err := pythonNumber(arguments, "a", fallback)
	if err != nil {
		return nil, err
	}
	b, err := pythonNumber(arguments, "b", fallback)
	if err != nil {
		return nil, err
	}
	var r number
	if a.whole != nil && b.whole != nil {
		r = number{whole: whole(a.whole, b.whole)}
	} else {
		r = number{real: real(a.float(), b.float())}
	}
	if r.whole == nil && (math.IsInf(r.real, 0) || math.IsNaN(r.real)) {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "%s %s %s is too big a number", a, sign, b)
	}
	return struct {
		Response    string          `json:"response"`
		Result      json.RawMessage `json:"result"`
		Calculation string          `json:"calculation"`
	}{r.String(), json.RawMessage(r.String()), a.String() + " " + sign + " " + b.String() + " = " + r.String()}, nil
}

// number is an int or a float, as Python tells them apart.
type number struct {
	whole *big.Int // nil: a float
	real  float64
}

// maxDigits bounds the numbers that a document can have us multiply.
const maxDigits = 10_000

func pythonNumber(arguments map[string]json.RawMessage, name, fallback string) (number, error) {
	raw, given := arguments[name]
	if !given {
		raw = json.RawMessage(fallback)
	}
	text := string(bytes.TrimSpace(raw))
	if len(text) <= maxDigits {
		if whole, ok := new(big.Int).SetString(text, 10); ok {
			return number{whole: whole}, nil
		}
		if real, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(real, 0) && !math.IsNaN(real) {
			return number{real: real}, nil
		}
	}
	return number{}, protocols.Errorf(protocols.TaskParameterError, "argument %s must be a number, not %s",
		name, lastBytes(text, 100))
}

func (n number) float() float64 {
	if n.whole == nil {
		return n.real
	}
	f, _ := new(big.Float).SetInt(n.whole).Float64()
	return f
}

// String is Python's repr: 7, 7.0, 3.5, 1e+16.
func (n number) String() string {
	if n.whole != nil {
		return n.whole.String()
	}
	scientific := strconv.FormatFloat(n.real, 'e', -1, 64)
	exponent, _ := strconv.Atoi(scientific[strings.IndexByte(scientific, 'e')+1:])
	if exponent < -4 || exponent >= 16 {
		return scientific
	}
	text := strconv.FormatFloat(n.real, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// pythonText is Python's str of a JSON value; lists and maps stay JSON.
func pythonText(raw json.RawMessage) string {
	var text string
	switch trimmed := string(bytes.TrimSpace(raw)); {
	case trimmed == "null":
		return "None"
	case trimmed == "true":
		return "True"
	case trimmed == "false":
		return "False"
	case json.Unmarshal(raw, &text) == nil:
		return text
	default:
		if n, err := pythonNumber(map[string]json.RawMessage{"n": raw}, "n", "0"); err == nil {
			return n.String()
		}
		return trimmed
	}
}
