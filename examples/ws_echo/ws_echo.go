//go:build ignore

// Echoes WebSocket messages, all by itself: a CGI program that does the
// handshake and the framing (RFC 6455). The server only passes bytes on.
//
//	go build -o build/ws_echo examples/ws_echo/ws_echo.go && wspawn --cgi build/ws_echo --upgrade
package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	continuation, text, binaryData = 0, 1, 2
	closing, ping, pong            = 8, 9, 10

	limit = 16 << 20 // bytes of a message
)

// A failure ends the connection with a code and a reason.
type failure struct {
	code   uint16
	reason string
}

func (f failure) Error() string { return f.reason }

// left is the end that the client asked for; it is the payload of its Close frame.
type left []byte

func (left) Error() string { return "client said goodbye" }

var (
	in  = bufio.NewReader(os.Stdin)
	out = os.Stdout
)

func main() {
	key := os.Getenv("HTTP_SEC_WEBSOCKET_KEY")
	switch {
	case !strings.EqualFold(os.Getenv("HTTP_UPGRADE"), "websocket") || key == "":
		fmt.Print("Status: 426 Upgrade Required\r\nUpgrade: websocket\r\n" +
			"Content-Type: text/plain\r\n\r\nThis is a WebSocket.\n")
		return
	case os.Getenv("HTTP_SEC_WEBSOCKET_VERSION") != "13":
		fmt.Print("Status: 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n" +
			"Content-Type: text/plain\r\n\r\nVersion 13, please.\n")
		return
	}
	proof := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Print("Status: 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(proof[:]) + "\r\n\r\n")

	err := echo()
	if f, ok := errors.AsType[failure](err); ok {
		err = send(closing, append(binary.BigEndian.AppendUint16(nil, f.code), f.reason...))
	} else if l, ok := errors.AsType[left](err); ok {
		err = send(closing, l[:min(len(l), 2)])
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		log.Fatal(err)
	}
}

func echo() error {
	for {
		opcode, message, err := receive()
		if err != nil {
			return err
		}
		if err := send(opcode, message); err != nil {
			return err
		}
	}
}

// receive returns the next message; pings on the way are answered.
func receive() (kind byte, message []byte, err error) {
	for started := false; ; {
		final, opcode, payload, err := receiveFrame(limit - len(message))
		switch {
		case err != nil:
			return 0, nil, err
		case opcode == ping:
			if err := send(pong, payload); err != nil {
				return 0, nil, err
			}
		case opcode == pong:
		case opcode == closing:
			return 0, nil, left(payload)
		case opcode > binaryData:
			return 0, nil, failure{1002, "unknown opcode"}
		case (opcode == continuation) != started:
			return 0, nil, failure{1002, "fragments out of order"}
		default:
			if !started {
				kind, started = opcode, true
			}
			message = append(message, payload...)
			if final && kind == text && !utf8.Valid(message) {
				return 0, nil, failure{1007, "text is not UTF-8"}
			}
			if final {
				return kind, message, nil
			}
		}
	}
}

func receiveFrame(room int) (final bool, opcode byte, payload []byte, err error) {
	var head [14]byte // at most
	if _, err = io.ReadFull(in, head[:2]); err != nil {
		return
	}
	final, opcode = head[0]&0x80 != 0, head[0]&0x0f
	length := uint64(head[1] & 0x7f)
	if head[0]&0x70 != 0 || head[1]&0x80 == 0 || opcode >= closing && (!final || length > 125) {
		return false, 0, nil, failure{1002, "malformed frame"}
	}
	switch length {
	case 126:
		_, err = io.ReadFull(in, head[:2])
		length = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(in, head[:8])
		length = binary.BigEndian.Uint64(head[:])
	}
	if err != nil {
		return
	}
	if opcode < closing && length > uint64(room) {
		return false, 0, nil, failure{1009, "message is too large"}
	}
	mask := head[10:]
	if _, err = io.ReadFull(in, mask); err != nil {
		return
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(in, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return
}

func send(opcode byte, payload []byte) error {
	frame := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	_, err := out.Write(append(frame, payload...))
	return err
}
