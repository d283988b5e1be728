//go:build ignore

// Shows what a program gets to know about the request: its environment.
//
//	go build -o build/dump-env examples/dump-env/dump-env.go && wspawn build/dump-env
package main

import (
	"fmt"
	"os"
	"slices"
)

func main() {
	vars := os.Environ()
	slices.Sort(vars)
	for _, v := range vars {
		fmt.Println(v)
	}
}
