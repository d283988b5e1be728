package manpage

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func tree() *cobra.Command {
	root := &cobra.Command{Use: "prog [flags] COMMAND [ARG...]", Short: "Do `things'", Run: func(*cobra.Command, []string) {}}
	sub := &cobra.Command{
		Use:   "sub-way [flags] URL",
		Short: "Go below",
		Long: `A first paragraph
.with a line that looks like a request.

'Another one\n with "signs": ~ ^ - … ü.

Words:
  one    the first
  --two  the second one

  as it is   with  blanks
  .and more

Exit status:
  0  good
  1  not so "good"`,
		Example: "  prog sub-way --in 'a b' \\\n    x  # comment",
		Run:     func(*cobra.Command, []string) {},
	}
	sub.Flags().StringP("in", "i", "", "read `FILE` - or not")
	sub.Flags().Int("number", 7, "so many")
	sub.Flags().Bool("quiet", false, ".say nothing")
	sub.Flags().String("secret", "", "nobody sees this")
	sub.Flags().MarkHidden("secret")
	sub.Flags().SortFlags = false
	hidden := &cobra.Command{Use: "hidden", Hidden: true, Run: func(*cobra.Command, []string) {}}
	root.AddCommand(sub, hidden)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

func TestAPageIsRenderedWithoutWarnings(t *testing.T) {
	var names []string
	for _, cmd := range Pages(tree()) {
		names = append(names, Name(cmd))
		var page, again bytes.Buffer
		if err := Write(&page, cmd); err != nil {
			t.Fatal(err)
		}
		Write(&again, cmd)
		if !bytes.Equal(page.Bytes(), again.Bytes()) {
			t.Errorf("%s is not the same twice", Name(cmd))
		}
		text := render(t, page.Bytes())
		if cmd.Name() != "sub-way" {
			continue
		}
		want := `PROG-SUB-WAY(1)             General Commands Manual            PROG-SUB-WAY(1)

NAME
       prog-sub-way - go below

SYNOPSIS
       prog sub-way [flags] URL

DESCRIPTION
       A first paragraph .with a line that looks like a request.

       'Another one\n with "signs": ~ ^ - … ü.

       Words:

       one    the first

       --two  the second one

           as it is   with  blanks
           .and more

OPTIONS
       -i, --in FILE
              read FILE - or not

       --number int
              so many (default 7)

       --quiet
              .say nothing

       -h, --help
              help for sub-way

EXIT STATUS
       0      good

       1      not so "good"

EXAMPLES
           prog sub-way --in 'a b' \
             x  # comment

SEE ALSO
       prog(1)

prog                                                           PROG-SUB-WAY(1)
`
		if diff := cmp.Diff(want, text); diff != "" {
			t.Error(diff)
		}
	}
	if got := strings.Join(names, " "); got != "prog prog-sub-way" {
		t.Errorf("pages %s", got)
	}
}

// render has groff check a page and print it as plain text.
func render(t *testing.T, page []byte) string {
	t.Helper()
	cmd := exec.Command("groff", "-man", "-ww", "-Tutf8", "-rLL=78n", "-P-cbou")
	cmd.Stdin = bytes.NewReader(page)
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil || warnings.Len() > 0 {
		t.Fatalf("groff (scripts/setup installs it): %v\n%s\n%s", err, warnings.Bytes(), page)
	}
	// How many empty lines there are between header, text and footer is a matter of versions.
	return regexp.MustCompile(`\n{3,}`).ReplaceAllString(strings.TrimLeft(string(out), "\n"), "\n\n")
}
