package spawner_test

import (
	"context"
	"fmt"
	"io"

	"github.com/wspawn/wspawn/spawner"
)

func Example() {
	ctx := context.Background()
	s := spawner.New(spawner.Config{})
	defer s.Close(ctx)

	p, err := s.Start(ctx, &spawner.Program{Path: "cat"}, spawner.StartOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.ClosePipes()
	fmt.Fprintln(p.Stdin, "hello")
	p.CloseStdin()
	out, err := io.ReadAll(p.Stdout)
	fmt.Printf("%q %v\n", out, err)
	fmt.Println(p.Stop(ctx), p.ExitState())
	// Output:
	// "hello\n" <nil>
	// <nil> exit status 0
}
