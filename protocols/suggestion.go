package protocols

// Suggest returns "did you mean x?" for the candidate that word is most
// likely a misspelling of, "" if it is like none of them.
func Suggest(word string, candidates []string) string { return suggest(word, candidates) }
