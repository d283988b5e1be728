//go:build ignore

// Counts, slowly: each line that a program prints is one WebSocket message.
//
//	go build -o build/count examples/count/count.go && wspawn build/count
//
// Arguments: how far (10), and the pause after each number in seconds (1).
package main

import (
	"flag"
	"fmt"
	"strconv"
	"time"
)

func main() {
	last, pause := 10, 1.0
	flag.Parse()
	if s := flag.Arg(0); s != "" {
		last, _ = strconv.Atoi(s)
	}
	if s := flag.Arg(1); s != "" {
		pause, _ = strconv.ParseFloat(s, 64)
	}
	for n := 1; n <= last; n++ {
		fmt.Println(n) // os.Stdout has no buffer: the line is out at once
		time.Sleep(time.Duration(pause * float64(time.Second)))
	}
}
