package cgi

// FramingVariable is the meta-variable of a request that is a session: a WebSocket whose handshake and frames
// are the gateway's business. The application answers with a header block and then writes messages; its
// input, up to its end, are those of the client. The value says how messages lie in both ("lines", "null", "length", "json",
// "raw", "frames"). CONTENT_LENGTH, where it is needed, is 0 although input follows.
//
// WEBSOCKET_PROTOCOL has the subprotocols that the client asks for; Sec-WebSocket-Protocol in the
// answer picks one.
const FramingVariable = "WEBSOCKET_FRAMING"
