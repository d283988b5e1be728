// Package manpage writes the manual page of a command from what its --help says, so that there is one
// text to maintain. The same command gives the same bytes: there is no date in a page.
//
// It understands the conventions of our help texts and nothing else: paragraphs are separated by empty
// lines; indented lines stay as they are; a paragraph "Heading:" with indented lines "  term  text" behind
// it is a list, and "Exit status:" a section of its own.
package manpage

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Name returns the name of the page of a command, as "wspawn-connect".
func Name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// Pages returns a command and those below it that have a page: the ones that users see, without help
// and completion, which cobra adds.
func Pages(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if visible(sub) && !builtin(sub) {
			all = append(all, Pages(sub)...)
		}
	}
	return all
}

func visible(cmd *cobra.Command) bool { return !cmd.Hidden && cmd.Deprecated == "" }

func builtin(cmd *cobra.Command) bool { return cmd.Name() == "help" || cmd.Name() == "completion" }

// Write writes the page of a command, in section 1, for the man macros of groff and mandoc.
func Write(w io.Writer, cmd *cobra.Command) error {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	p := &page{}
	p.line(`.TH %s 1 "" %s`, quote(strings.ToUpper(Name(cmd))), quote(cmd.Root().Name()))
	// Long words, as URLs and options, stay whole, and lines are not stretched.
	p.line(".nh\n.ad l")
	p.section("NAME")
	p.line(`%s \- %s`, escape(Name(cmd)), escape(lowerFirst(cmd.Short)))
	p.section("SYNOPSIS")
	p.line(".B %s", quote(cmd.CommandPath()))
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		p.line("%s", placeholders(args))
	}
	p.section("DESCRIPTION")
	sections := p.description(cmd)
	p.commands(cmd)
	p.options(cmd)
	p.b.Write(sections)
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(cmd.Example)
	}
	p.seeAlso(cmd)
	_, err := w.Write(p.b.Bytes())
	return err
}

type page struct{ b bytes.Buffer }

// line writes one line of input for roff. What is text must be escaped.
func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func (p *page) section(name string) { p.line(".SH %s", quote(name)) }

// description writes the long text and returns what is sections of its own.
func (p *page) description(cmd *cobra.Command) (sections []byte) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		heading, rest, _ := strings.Cut(paragraph, "\n")
		items, ok := list(rest)
		switch {
		case ok && heading == "Exit status:":
			q := &page{}
			q.section("EXIT STATUS")
			q.items(items)
			sections = q.b.Bytes()
			continue
		case i > 0:
			p.line(".PP")
		}
		switch {
		case ok && strings.HasSuffix(heading, ":"):
			p.line("%s", escape(heading))
			p.items(items)
		case strings.HasPrefix(paragraph, "  "):
			p.verbatim(paragraph)
		default:
			for line := range strings.SplitSeq(paragraph, "\n") {
				p.line("%s", escape(line))
			}
		}
	}
	return sections
}

type item struct{ term, text string }

var itemLine = regexp.MustCompile(`^  (\S+(?: \S+)*)  +(\S.*)$`)

// list reads lines like "  term  text".
func list(text string) (items []item, ok bool) {
	for line := range strings.SplitSeq(text, "\n") {
		m := itemLine.FindStringSubmatch(line)
		if m == nil {
			return nil, false
		}
		items = append(items, item{m[1], m[2]})
	}
	return items, true
}

func (p *page) items(items []item) {
	for _, i := range items {
		p.line(".TP\n.B %s\n%s", quote(i.term), escape(i.text))
	}
}

func (p *page) verbatim(text string) {
	p.line(".RS 4\n.nf")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		p.line("%s", escape(strings.TrimPrefix(line, "  ")))
	}
	p.line(".fi\n.RE")
}

func (p *page) commands(cmd *cobra.Command) {
	var items []item
	for _, sub := range cmd.Commands() {
		if visible(sub) && sub.Name() != "help" {
			items = append(items, item{sub.Name(), sub.Short})
		}
	}
	if len(items) > 0 {
		p.section("COMMANDS")
		p.items(items)
	}
}

func (p *page) options(cmd *cobra.Command) {
	p.section("OPTIONS")
	// LocalFlags also sorts in the persistent flags, in the order that --help has.
	flags := cmd.LocalFlags()
	flags.SortFlags = cmd.Flags().SortFlags
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		if f.DefValue != "" && !slices.Contains([]string{"false", "0", "0s", "[]"}, f.DefValue) {
			usage += fmt.Sprintf(" (default %s)", strings.Trim(f.DefValue, "[]"))
		}
		p.line(".TP")
		term := bold("--" + f.Name)
		if f.Shorthand != "" {
			term = bold("-"+f.Shorthand) + ", " + term
		}
		if name != "" {
			term += " " + italic(name)
		}
		p.line("%s\n%s", term, escape(usage))
	})
}

func (p *page) seeAlso(cmd *cobra.Command) {
	var others []string
	for _, c := range Pages(cmd.Root()) {
		if c != cmd && (c.Parent() == cmd || cmd.Parent() == c || c.Parent() == cmd.Parent()) {
			others = append(others, bold(Name(c))+"(1)")
		}
	}
	if len(others) > 0 {
		p.section("SEE ALSO")
		p.line("%s", strings.Join(others, ",\n"))
	}
}

func bold(s string) string   { return `\fB` + escape(s) + `\fR` }
func italic(s string) string { return `\fI` + escape(s) + `\fR` }

var placeholder = regexp.MustCompile(`[A-Z]{2,}`)

// placeholders makes what stands for something else italic.
func placeholders(s string) string {
	return placeholder.ReplaceAllStringFunc(escape(s), func(word string) string { return `\fI` + word + `\fR` })
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// escape makes s a line of text. Signs that roff prints as typographic ones remain what can be copied.
func escape(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		b.WriteString(`\&`)
	}
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r >= 0x80:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// quote makes s one argument of a macro.
func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
