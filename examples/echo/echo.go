//go:build ignore

// Sends every message back. It passes bytes, so that it does the same for
// lines and for `wspawn --binary`.
//
//	go build -o build/echo examples/echo/echo.go && wspawn build/echo
package main

import (
	"io"
	"log"
	"os"
)

func main() {
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		log.Fatal(err)
	}
}
