// Package client is a WebSocket client for people and pipes: the command "wspawn connect".
//
// [Run] connects, sends what it reads from its input and writes what arrives to its output, until one
// side closes. In a pipe a line of input is a text message and a message is a line of output; with
// [Config.Binary] chunks of bytes are. Where input and output are a terminal there is a line editor,
// and received messages do not disturb the line that is being edited.
//
// # How it ends
//
// The end of the input sends Close 1000, at once or after [Config.Wait]; what still arrives is written
// until the peer answers. Whatever came before a Close frame is written before Run returns.
//
// Run returns nil after an orderly end: the peer closed with 1000, or this side closed (with 1000, or
// with 1001 because of SIGTERM) and the peer answered; also when nobody reads the output any more. All
// other ends are an *[Error] with an exit status. A Close frame of the peer with 1001 is one of them:
// the server going away is what the caller wants to know about.
//
// # What it holds
//
// Memory does not depend on the length of messages or on the speed of either side. A reader that
// stalls holds the server back, a server that stalls holds the input back. While the output stalls, pings
// behind unwritten messages are not answered, so a server may lose patience.
//
// It leaves flags, and printing the error, to the caller.
package client
