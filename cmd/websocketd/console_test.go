package main

import (
	"testing"

	"github.com/wspawn/wspawn/internal/browsertest"
)

// TestConsoleInABrowser uses the page as a person would. The browser harness
// fails the test when anything breaks the policy of the page.
func TestConsoleInABrowser(t *testing.T) {
	t.Parallel()
	d := start(t, []string{"--devconsole"}, self("echo")...)
	b := browsertest.New(t)

	t.Run("connect, send, disconnect", func(t *testing.T) {
		p := b.Open(t, "http://"+d.addr+"/some/path?q=1")
		p.Wait(`document.getElementById('address').value === 'ws://` + d.addr + `/some/path?q=1'`)
		p.Click("#toggle")
		p.Wait(`document.getElementById('log').textContent.includes('connected')`)
		p.Type("#message", "<b>hello</b>\r")
		p.Wait(`[...document.querySelectorAll('#log .received')].some(e => e.textContent === 'got <b>hello</b>')`)
		p.Click("#toggle")
		p.Wait(`document.getElementById('log').textContent.includes('closed: ')`)
		d.logged(`/some/path\?q=1' .*DISCONNECT`)
	})
	t.Run("a URL is text", func(t *testing.T) {
		p := b.Open(t, "http://"+d.addr+`/?"><script>document.title='broken'</script>&quot;`)
		p.Wait(`document.getElementById('address').value.startsWith('ws://')`)
		p.Wait(`document.title === 'WebSocket console' && document.scripts.length === 1`)
	})
}
