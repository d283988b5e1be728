// What the npm package ws does with a program that takes frames: node frames.js ws://host:port/
const WebSocket = require("ws");

const s = new WebSocket(process.argv[2]);
const show = (data, binary) => console.log(binary ? "binary" : "text", binary ? data.toString("hex") : String(data));
s.on("message", show);
s.on("error", (err) => console.log(String(err)));
s.on("close", (code) => console.log("closed", code));
s.on("open", () => {
  s.send("whole");
  s.send("frag", {fin: false});
  s.send("", {fin: false});
  s.send(Buffer.from([0xe2]), {fin: false});
  s.send(Buffer.from([0x82, 0xac]), {fin: true});
  s.send(Buffer.from([0, 255]), {fin: false});
  s.send(Buffer.from([1]), {fin: true});
  s.on("message", (data, binary) => binary && s.close(4000));
});
