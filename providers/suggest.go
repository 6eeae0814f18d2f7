package providers

import "strings"

// choices ends a message about an unknown word: what may have been meant, and
// what there is.
func choices(word string, all []string) string {
	near, there := nearest(word, all), strings.Join(all, ", ")
	switch {
	case len(all) == 0:
		return "; there is none"
	case near == "":
		return "; there is " + there
	}
	return "; did you mean " + near + "? There is " + there
}

// nearest returns the word most like the given one, "" when none is.
func nearest(word string, all []string) string {
	best, least := "", len(word)/3+2
	for _, candidate := range all {
		if d := distance(strings.ToLower(word), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the number of bytes to add, drop or change on the way from a
// to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
