package config

import (
	"fmt"
	"os"
	"strings"
)

// expand puts the values of environment variables into a string: `${NAME}`, and `${NAME:-default}` for one that is not
// set or empty. `$${` is a literal `${`.
func expand(s string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			return b.String() + s, nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		reference, rest, closed := strings.Cut(s[i+2:], "}")
		variable, def, hasDefault := strings.Cut(reference, ":-")
		if !closed || !isVariable(variable) {
			return "", fmt.Errorf(`"${" begins no ${NAME} or ${NAME:-default}; write "$${" where it is meant literally`)
		}
		value, set := os.LookupEnv(variable)
		switch {
		case hasDefault && value == "":
			value = def
		case !set:
			return "", fmt.Errorf("the environment variable %s is not set; set it, or write ${%s:-default}", variable, variable)
		}
		b.WriteString(value)
		s = rest
	}
}

// literal is a string that expand returns as s.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func isVariable(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
