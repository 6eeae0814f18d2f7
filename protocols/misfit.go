package protocols

import (
	"encoding/json"
	"strings"
)

// Misfit names what a JSON text holds where something else is wanted, with its
// article: "an object".
func Misfit(e *json.UnmarshalTypeError) string {
	if strings.IndexByte("aeiou", (e.Value + " ")[0]) >= 0 {
		return "an " + e.Value
	}
	return "a " + e.Value
}
