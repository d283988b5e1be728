package wsframe

import "time"

// The values that stand for 0 in [Options].
const (
	DefaultMaxFrame     = 1 << 20
	DefaultMaxMessage   = 1 << 20
	DefaultMaxFragments = 16384
	DefaultPingInterval = 30 * time.Second
	DefaultPingGrace    = 10 * time.Second
	DefaultCloseTimeout = 5 * time.Second
	DefaultWriteTimeout = 60 * time.Second
)

// Options are what both ends of a connection can set. The zero value protects: every limit has a
// default.
type Options struct {
	// MaxFrame and MaxMessage are the largest received payload of a frame and of a message, in
	// bytes. A larger one ends the connection with 1009, as soon as a header announces it. 0 means
	// 1 MiB, a negative value no limit; since nothing is ever allocated from an announced length,
	// no limit is safe where messages are streamed ([Conn.NextReader], [Conn.Receive]), and an
	// invitation to fill the memory with [Conn.ReadMessage]. For a compressed message, MaxFrame is
	// about the bytes on the wire and MaxMessage about the inflated ones, as soon as there are too many.
	MaxFrame, MaxMessage int64

	// MaxFragments is the largest number of frames of a received message. 0 means 16384, a
	// negative value no limit.
	MaxFragments int

	// FragmentSize cuts outgoing messages into frames of at most so many bytes, text never inside
	// a character (so a size below 4 is taken as 4). 0 means that a message is one frame.
	FragmentSize int

	// Compression, of RFC 7692, is used where both ends want it. Nil means that it is neither offered
	// nor accepted.
	Compression *Compression

	// PingInterval is how long nothing has to arrive before a ping is sent; the ping goes out
	// between one and one and a quarter of it. Any received byte counts as life, and the clock
	// stands still while nobody reads, since a peer cannot be blamed for answers that lie unread.
	// 0 means 30 s, a negative value no pings.
	PingInterval time.Duration

	// PingGrace is how long after that ping something has to arrive; otherwise the connection ends
	// without a Close frame, with the local code 1006. 0 means 10 s, a negative value no time.
	PingGrace time.Duration

	// CloseTimeout is how long the peer may take to answer a Close frame, and to end the TCP
	// connection after one. 0 means 5 s, a negative value that the connection is cut behind the frame.
	CloseTimeout time.Duration

	// WriteTimeout is how long a write may be stuck because the peer does not read, counted anew
	// for each 64 KiB. Then the connection ends with the local code 1006. 0 means 60 s, a negative
	// value no limit.
	WriteTimeout time.Duration

	// NewMeter makes what bounds how fast the peer of a new connection may send; nil, also as its result, means that the
	// far side's taking is the only bound.
	NewMeter func() Meter

	// OnPing is called for each received ping, before it is answered; true suppresses the answer.
	// OnPong is called for each received pong. Both run in the goroutine that reads and must not
	// block; the payload is valid during the call. Optional.
	OnPing func(payload []byte) (suppress bool)
	OnPong func(payload []byte)
}

func (o *Options) fragmentSize() int {
	if o.FragmentSize <= 0 {
		return 0
	}
	return max(o.FragmentSize, 4)
}

func (o *Options) pingInterval() time.Duration {
	return orDuration(o.PingInterval, DefaultPingInterval)
}
func (o *Options) pingGrace() time.Duration { return orDuration(o.PingGrace, DefaultPingGrace) }
func (o *Options) closeTimeout() time.Duration {
	return orDuration(o.CloseTimeout, DefaultCloseTimeout)
}
func (o *Options) writeTimeout() time.Duration {
	return orDuration(o.WriteTimeout, DefaultWriteTimeout)
}

func orDuration(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// A Meter bounds how fast a peer may send.
type Meter interface {
	// Take is called for the header of each data frame, with 1 for the first of a message and 0 for the others, and the
	// length of its payload. False ends the connection with 1008. It must not block, and is for one
	// goroutine at a time.
	Take(messages, bytes int) bool
}
