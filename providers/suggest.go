package providers

import (
	"strings"

	"gleitzeit/protocols"
)

// choices ends a message about an unknown word: what may have been meant, and
// what there is.
func choices(word string, all []string) string {
	hint, there := protocols.Suggest(word, all), strings.Join(all, ", ")
	switch {
	case len(all) == 0:
		return "; there is none"
	case hint == "":
		return "; there is " + there
	}
	return "; " + hint + " There is " + there
}
