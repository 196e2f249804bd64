package executor

import (
	"fmt"
	"slices"
	"strings"
)

// unknownBackend is what is said about a backend that is not known.
func unknownBackend(name string) string {
	names := backendNames()
	return fmt.Sprintf("unknown backend %s%s: %s; others are, once the package that registers them is imported",
		showAddr(anyAddrs, name), didYouMean(name, names), known(names))
}

// unknownKey is what is said about a key that b does not have; what it has are keys.
func unknownKey(b backendEntry, key string, keys []string) string {
	text := "unknown key " + showAddr(anyAddrs, key) + " for " + b.name
	if others := takers(key); len(others) > 0 {
		return text + ", it is one of " + list(others)
	}
	return text + didYouMean(key, keys)
}

// known ends what is said about something unknown.
func known(words []string) string {
	if len(words) == 0 {
		return "none are known"
	}
	return "known are " + list(words)
}

// list is "a", "a and b" or "a, b and c".
func list(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// didYouMean is a question with the name that was probably meant, or "".
func didYouMean(word string, names []string) string {
	if name := nearest(word, names); name != "" {
		return fmt.Sprintf(" (did you mean %q?)", name)
	}
	return ""
}

// nearest is the one of names that word is a misspelling of: another case, hyphens, the
// name of the field in Config, or a slip in every third letter. It is "" if there is none.
func nearest(word string, names []string) string {
	const longest = 40 // no name is
	if len(word) > longest {
		return ""
	}
	word = strings.ReplaceAll(strings.ToLower(word), "-", "_")
	for _, s := range settings {
		if strings.EqualFold(strings.ReplaceAll(word, "_", ""), s.field) && slices.Contains(names, s.key) {
			return s.key
		}
	}
	best, least := "", max(1, len(word)/3)+1
	for _, name := range names {
		if d := distance(word, name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	var before, last []int // the rows of two and of one letter of a ago
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last = last, row
		row = make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
