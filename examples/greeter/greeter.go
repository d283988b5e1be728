//go:build ignore

// Greets whoever says a name: each message is a line on stdin, each line on
// stdout is the answer.
//
//	go build -o build/greeter examples/greeter/greeter.go && wspawn build/greeter
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	names := bufio.NewScanner(os.Stdin)
	for names.Scan() {
		fmt.Printf("Hello, %s!\n", names.Text())
	}
}
