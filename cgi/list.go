package cgi

import (
	"fmt"
	"strings"
)

// Var is one meta-variable.
type Var struct {
	Name  string
	Value string
}

// List holds meta-variables in the order in which they are handed on. A list
// made by [Variables] contains each name once.
type List []Var

// Lookup returns the value of the variable name, and whether there is one. An
// empty value and a missing variable are different things in RFC 3875.
func (l List) Lookup(name string) (value string, ok bool) {
	for i := range l {
		if l[i].Name == name {
			return l[i].Value, true
		}
	}
	return "", false
}

// Environ returns the list in the form that operating systems want, one
// "NAME=value" per variable, in the same order.
func (l List) Environ() []string {
	env := make([]string, len(l))
	for i := range l {
		env[i] = l[i].Name + "=" + l[i].Value
	}
	return env
}

// Set gives the variable name a value: in place when it exists already, else
// at the end.
func (l *List) Set(name, value string) {
	for i := range *l {
		if (*l)[i].Name == name {
			(*l)[i].Value = value
			return
		}
	}
	*l = append(*l, Var{name, value})
}

// RequestError reports a request that cannot be described by meta-variables
// without ambiguity or loss. The client is at fault: answer 400 Bad Request.
type RequestError struct {
	// Field is the header field or the meta-variable that is to blame.
	Field string
	// Reason says what is wrong with it, as the rest of a sentence that
	// starts with the field.
	Reason string
}

// Error names the field and the reason.
func (e *RequestError) Error() string {
	return fmt.Sprintf("%q %s", e.Field, e.Reason)
}

// check refuses what no environment and no parameter block can carry.
func (l List) check() error {
	for _, v := range l {
		if v.Name == "" || strings.IndexByte(v.Name, '=') >= 0 || strings.IndexByte(v.Name, 0) >= 0 {
			return fmt.Errorf("meta-variable %q: not a variable name", v.Name)
		}
		if strings.IndexByte(v.Value, 0) >= 0 {
			return &RequestError{Field: v.Name, Reason: "contains a NUL byte"}
		}
	}
	return nil
}
