package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	keysTimeout  = 5 * time.Second  // for one question
	keysInterval = 30 * time.Second // between two questions, so that made-up key names do no harm
	keysRetry    = 2 * time.Second  // likewise, while there are no keys at all
	keysMaxAge   = 24 * time.Hour
	keysMaxSize  = 1 << 20
)

// keyURL is a key set on a server.
type keyURL struct {
	url       string
	cacheTime time.Duration
	transport http.RoundTripper

	asking sync.Mutex // held while the server is asked

	mu    sync.Mutex // guards the fields below
	keys  []publicKey
	got   time.Time // when keys was had
	asked time.Time
	err   error // of the last question
}

func newKeyURL(c JWTConfig) (keySource, error) {
	u, err := url.Parse(c.KeyURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not an http or https URL", c.KeyURL)
	}
	k := &keyURL{url: c.KeyURL, cacheTime: c.CacheTime, transport: c.Transport}
	if k.cacheTime == 0 {
		k.cacheTime = 10 * time.Minute
	}
	if k.transport == nil {
		k.transport = http.DefaultTransport
	}
	return k, nil
}

// get asks the server when that is called for. While it does, others do with the keys that there are.
func (k *keyURL) get(ctx context.Context, id string) ([]publicKey, error) {
	if keys, err, due := k.now(id); !due {
		return keys, err
	}
	if !k.asking.TryLock() {
		if keys, err, _ := k.now(id); err == nil && has(keys, id) {
			return keys, nil
		}
		k.asking.Lock()
	}
	defer k.asking.Unlock()
	if keys, err, due := k.now(id); !due { // somebody else has asked meanwhile
		return keys, err
	}
	// Not for this client alone, so not with its context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTimeout)
	defer cancel()
	keys, err := k.ask(ctx)
	k.mu.Lock()
	k.asked, k.err = time.Now(), err
	if err == nil {
		k.keys, k.got = keys, k.asked
	}
	k.mu.Unlock()
	keys, err, _ = k.now(id)
	return keys, err
}

// now returns what is known, and whether it is time to ask.
func (k *keyURL) now(id string) (keys []publicKey, err error, due bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	interval := keysInterval
	if keys = k.keys; keys == nil || time.Since(k.got) > keysMaxAge {
		keys, err, interval = nil, k.err, keysRetry
		if err == nil {
			err = errors.New("not asked for yet")
		}
	}
	due = (keys == nil || time.Since(k.got) > k.cacheTime || !has(keys, id)) && (k.asked.IsZero() || time.Since(k.asked) >= interval)
	return keys, err, due
}

// has reports whether there is a key of that name, or one that could be it.
func has(keys []publicKey, id string) bool {
	return slices.ContainsFunc(keys, func(k publicKey) bool { return id == "" || k.id == "" || k.id == id })
}

func (k *keyURL) ask(ctx context.Context) ([]publicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := k.transport.RoundTrip(req) // redirects could lead anywhere
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", k.url, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, keysMaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > keysMaxSize {
		return nil, fmt.Errorf("%s: more than %d bytes", k.url, keysMaxSize)
	}
	keys, err := parseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.url, err)
	}
	return keys, nil
}
