// Package glob matches the simplest of patterns, those of IRC masks.
package glob

import "strings"

// Has reports whether a string is a pattern at all.
func Has(s string) bool { return strings.ContainsAny(s, "*?") }

// Match reports whether all of s is as pattern says: "*" stands for any bytes, also none, "?" for one byte, and
// everything else for itself. It takes time in proportion to the product of the lengths at most.
func Match(pattern, s string) bool {
	star, mark := -1, 0 // where to go on when it does not match: the last star takes one byte more
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
