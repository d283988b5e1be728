// Package browsertest drives a headless Chromium in tests of our pages.
//
// It is for pages on this machine: the browser is told to make no connections
// of its own. Chromium must be on PATH; scripts/setup installs it.
package browsertest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Timeout bounds every step of a page.
const Timeout = 2 * time.Minute

// A Browser is a Chromium with a profile of its own.
type Browser struct {
	ctx context.Context
}

// New starts a browser, which ends with the test.
func New(t testing.TB) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // tests may run as root, and in containers
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.WindowSize(900, 700),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("stopping chromium: %v", err)
		}
	})
	return &Browser{ctx}
}

// A Page is a tab of a browser. Its methods are for the goroutine of its test,
// which they end when they fail.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex // guards the field below
	problems []string
}

// Open opens a page in a tab of its own, for t, which may be a subtest of the
// browser's. It fails if by its end the page has thrown an exception or broken
// its Content-Security-Policy.
func (b *Browser) Open(t testing.TB, url string) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	p := &Page{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			p.note(m)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		for _, problem := range p.Problems() {
			t.Errorf("%s: %s", url, problem)
		}
	})
	p.Do(chromedp.Navigate(url))
	return p
}

func (p *Page) note(m chromedp.ConsoleMessage) {
	if m.IsException() || m.Type == chromedp.ConsoleError && m.Source != "network" {
		p.mu.Lock()
		p.problems = append(p.problems, m.String())
		p.mu.Unlock()
	}
}

// Problems returns, and forgets, the exceptions and violations so far.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.problems
	p.problems = nil
	return list
}

// Do runs steps of chromedp.
func (p *Page) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Timeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// Type puts the focus on the element of a CSS selector and types the keys
// there; "\r" is Enter.
func (p *Page) Type(selector, keys string) {
	p.t.Helper()
	p.Do(chromedp.Focus(chromedp.CSS(selector)))
	for text := range strings.SplitAfterSeq(keys, "\r") {
		text, enter := strings.CutSuffix(text, "\r")
		p.Do(chromedp.KeyEvent(text))
		if enter {
			p.Do(chromedp.Func(pressEnter))
		}
	}
}

// pressEnter presses and releases Enter. The key and its character are one
// event, as they are for a user; KeyEvent makes two, and the second one happens
// even if the page prevents what the first would do.
func pressEnter(ctx context.Context, t *chromedp.Target) error {
	down := input.DispatchKeyEventParams{
		Type: kb.KeyDown, Key: "Enter", Code: "Enter",
		WindowsVirtualKeyCode: '\r', Text: "\r", UnmodifiedText: "\r",
	}
	up := down
	up.Type, up.Text, up.UnmodifiedText = kb.KeyUp, "", ""
	if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, down); err != nil {
		return err
	}
	_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, up)
	return err
}

// Click clicks on the element of a CSS selector.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Text returns the text of the element of a CSS selector, as it is shown.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return Get(p, chromedp.Text(chromedp.CSS(selector)))
}

// Wait waits until a JavaScript expression is true.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Timeout)
	defer cancel()
	poll := chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(10*time.Millisecond))
	if err := chromedp.Do(ctx, poll); err != nil {
		body, _ := chromedp.Run(p.ctx, chromedp.Text(chromedp.CSS("body")))
		p.t.Fatalf("waiting for %s: %v\nthe page shows:\n%s", expression, err, body)
	}
}

// Get runs an action of chromedp that has a value.
func Get[T any](p *Page, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Timeout)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}
