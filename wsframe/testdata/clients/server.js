// A server of the npm package ws, for Dial: prints its port, then one line for each connection that
// ended. It ends when its standard input does.
const WebSocket = require("ws");
const server = new WebSocket.Server({host: "127.0.0.1", port: 0, perMessageDeflate: true, handleProtocols: ps => ps.has("chat") ? "chat" : false});
server.on("listening", () => console.log(server.address().port));
server.on("connection", s => {
  s.on("message", (data, isBinary) => {
    const command = isBinary ? "" : data.toString();
    if (command.startsWith("close ")) {
      const [, code, reason] = command.split(" ");
      s.close(Number(code), reason);
    } else if (command === "fragments") {
      s.send("one ", {fin: false});
      s.ping("between");
      s.send("two ", {fin: false});
      s.send("three", {fin: true});
    } else if (command === "terminate") {
      s.terminate();
    } else if (command === "masked") {
      s.send("x", {mask: true});
    } else {
      s.send(data, {binary: isBinary});
    }
  });
  s.on("pong", data => console.log("pong " + data));
  s.on("error", () => {});
  s.on("close", (code, reason) => console.log("closed " + code + " " + reason));
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
