// What the npm package ws does with a program that echoes: node ws_echo.js ws://host:port/path
const WebSocket = require("ws");

const event = (s, name) => new Promise((resolve, reject) => {
  s.once(name, (...args) => resolve(args));
  s.once("error", reject);
});
const text = ([data, binary]) => `${binary ? "binary" : "text"} ${data.length} ${data.subarray(0, 20).toString(binary ? "hex" : "utf8")}`;

(async () => {
  const s = new WebSocket(process.argv[2]);
  await event(s, "open");
  const echo = async (...message) => {
    const answer = event(s, "message");
    s.send(...message);
    console.log(text(await answer));
  };
  await echo("grüße");
  await echo(Buffer.from([0, 255, 10]));
  await echo("");
  await echo("x".repeat(126));
  await echo("y".repeat(65536));
  await echo(Buffer.alloc(1000000, 1));

  const answer = event(s, "message"), pong = event(s, "pong");
  s.send("frag", {fin: false});
  s.ping("between");
  s.send("", {fin: false});
  s.send("ments", {fin: true});
  console.log(text(await answer), "pong", String((await pong)[0]));

  const end = event(s, "close");
  s.close(4000, "bye");
  console.log("closed", (await end)[0]);
  const bad = new WebSocket(process.argv[2]);
  await event(bad, "open");
  bad.send(Buffer.from([0x61, 0xff]), {binary: false});
  console.log("not UTF-8", (await event(bad, "close"))[0]);
})();
