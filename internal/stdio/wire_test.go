package stdio

import (
	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/wsframe"
)

type (
	frame  = frametest.Frame
	client = frametest.Client
)

var (
	text, bin, pong, closing     = frametest.Text, frametest.Bin, frametest.Pong, frametest.Closing
	masked, messageIn, fragments = frametest.Masked, frametest.Message, frametest.Fragments
	messages                     = frametest.Messages
	eventually                   = frametest.Eventually
)

const (
	bound  = frametest.Bound
	opText = wsframe.OpText
	opBin  = wsframe.OpBinary
)
