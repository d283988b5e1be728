// What only the npm package ws can do as a client: node client.js ws://host:port
const WebSocket = require("ws");
const base = process.argv[2];

const connect = (path, options) => new Promise((resolve, reject) => {
  const s = new WebSocket(base + path, options);
  s.end = new Promise(r => s.once("close", (code, reason) => r(code + " " + reason)));
  s.once("open", () => resolve(s));
  s.on("error", e => { s.error = e.message; reject(e); });
});
const event = (s, name) => new Promise(r => s.once(name, (...args) => r(args)));
const text = ([data, isBinary]) => (isBinary ? "binary " : "text ") + data.length + " " + data.subarray(0, 40);

const steps = {
  "fragments": async () => {
    const s = await connect("/echo");
    s.send("grü", {fin: false});
    s.ping("between");
    s.send("", {fin: false});
    s.send("ße", {fin: false});
    s.send("", {fin: true});
    const [message, pong] = await Promise.all([event(s, "message"), event(s, "pong")]);
    s.close();
    return text(message) + ", pong " + pong[0];
  },
  "character in two fragments": async () => {
    const s = await connect("/echo"), euro = Buffer.from("€");
    s.send(euro.subarray(0, 1), {fin: false, binary: false});
    s.send(euro.subarray(1), {fin: true, binary: false});
    const message = await event(s, "message");
    s.close();
    return text(message);
  },
  "pings": async () => {
    const s = await connect("/echo"), got = [];
    s.on("pong", data => got.push(data.toString()));
    for (let i = 0; i < 10; i++) s.ping(String(i));
    s.ping("x".repeat(125));
    while (got.length < 11) await event(s, "pong");
    s.close();
    return got.map(p => p.length > 10 ? p.length : p).join(" ");
  },
  "not UTF-8": async () => {
    const s = await connect("/echo");
    s.send(Buffer.from([0x61, 0xFF]), {binary: false});
    return s.end;
  },
  "not masked": async () => {
    const s = await connect("/echo");
    s.send("x", {mask: false});
    return s.end;
  },
  "offers compression": async () => {
    const s = await connect("/echo", {perMessageDeflate: true});
    s.send("y".repeat(5000));
    const message = await event(s, "message");
    s.close();
    return JSON.stringify(s.extensions) + " " + text(message);
  },
  "terminates": async () => {
    const s = await connect("/echo");
    s.terminate();
    return s.end;
  },
};

(async () => {
  for (const line of await require("./common.js")(WebSocket, base)) console.log(line);
  for (const [name, step] of Object.entries(steps)) {
    let result;
    try { result = await step(); } catch (e) { result = "exception: " + e.message; }
    console.log("ws " + name + ": " + result);
  }
})();
