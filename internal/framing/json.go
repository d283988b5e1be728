package framing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/wspawn/wspawn/wsframe"
)

// A verb is one line of the far side in the JSON framing.
type verb struct {
	Type   string            `json:"type"` // text, binary, close, ping
	Data   string            `json:"data"` // base64 for binary
	Code   wsframe.CloseCode `json:"code"`
	Reason string            `json:"reason"`
}

// verb does what a line of the far side says. An error in it ends the session, since guessing what
// was meant would only hide it.
func (d *Decoder) verb(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	if d.Options.InvalidUTF8 == Refuse && !utf8.Valid(line) { // it is replaced otherwise
		d.close(wsframe.CloseInvalidPayload, d.peer()+invalidText)
		return
	}
	v, err := parseVerb(line)
	if err == nil {
		err = d.do(v)
	}
	if err != nil {
		d.close(wsframe.CloseInternalError, d.peer()+" sent a bad line: "+err.Error())
	}
}

// How most programs begin and end the line of a text: JSON.stringify and Encode write the first, json.dumps of Python the other.
var textHeads = [...]string{`{"type":"text","data":"`, `{"type": "text", "data": "`}

const textTail = `"}`

// plainText recognises the line of a text in which nothing is escaped, and returns where the text begins. It can go out
// from where it lies: encoding/json allocates a dozen times for a line.
func plainText(line []byte) (start int, ok bool) {
	for _, head := range textHeads {
		if !bytes.HasPrefix(line, []byte(head)) || !bytes.HasSuffix(line[len(head):], []byte(textTail)) {
			continue
		}
		text := line[len(head) : len(line)-len(textTail)]
		for _, c := range text {
			if c < ' ' || c == '"' || c == '\\' {
				return 0, false
			}
		}
		return len(head), utf8.Valid(text)
	}
	return 0, false
}

func parseVerb(line []byte) (v verb, err error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("not a JSON object as expected: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return v, errors.New("more than one JSON object on the line")
	}
	return v, nil
}

func (d *Decoder) do(v verb) error {
	switch v.Type {
	case "text":
		d.own(wsframe.OpText, []byte(v.Data))
	case "binary":
		p, err := base64.StdEncoding.DecodeString(v.Data)
		if err != nil {
			return fmt.Errorf("data of a binary message: %w", err)
		}
		d.own(wsframe.OpBinary, p)
	case "ping":
		if len(v.Data) > wsframe.MaxControlPayload {
			return fmt.Errorf("ping with more than %d bytes", wsframe.MaxControlPayload)
		}
		d.flush()
		d.write(wsframe.AppendFrame(nil, wsframe.Server, wsframe.Frame{Fin: true, Op: wsframe.OpPing, Payload: []byte(v.Data)}))
	case "close":
		if v.Code == 0 {
			v.Code = wsframe.CloseNormal
		}
		if !v.Code.Sendable() {
			return fmt.Errorf("close code %d may not be sent", v.Code)
		}
		d.close(v.Code, v.Reason)
	default:
		return fmt.Errorf("unknown type %q: use text, binary, ping or close", v.Type)
	}
	return nil
}
