// Large messages, ends in the middle of things, many connections. In the page and in node, abuse(WebSocket,
// base) does what the browser's API can do; in node:
//   node abuse.js client ws://host:port   that, and what only the npm package ws can do
//   node abuse.js server                  a server for Dial; prints its port, then how connections ended
const MiB = 1 << 20;

const connect = (WebSocket, url) => new Promise((resolve, reject) => {
  const s = new WebSocket(url);
  s.binaryType = "arraybuffer";
  s.next = () => new Promise(r => s.onmessage = e => r(e.data));
  s.end = new Promise(r => s.onclose = e => r(e.code + " " + e.reason + (e.wasClean ? " clean" : " unclean")));
  s.onopen = () => resolve(s);
  s.onerror = () => s.end.then(end => reject(new Error(end)));
});
const pattern = n => { // loops, since callbacks take seconds
  const p = new Uint8Array(n);
  for (let i = 0; i < n; i++) p[i] = i % 251;
  return p;
};
const same = (a, b) => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
};

async function run(steps) {
  const results = [];
  for (const [name, step] of Object.entries(steps)) {
    let result;
    try { result = await step(); } catch (e) { result = "exception: " + (e && e.message || e); }
    results.push(name + ": " + result);
  }
  return results;
}

const abuse = (WebSocket, base) => run({
  "8 MiB": async () => {
    const s = await connect(WebSocket, base + "/echo"), sent = pattern(8 * MiB);
    s.send(sent);
    const got = new Uint8Array(await s.next());
    s.close(1000);
    return same(got, sent) + ", " + await s.end;
  },
  "client closes during a flood": async () => {
    const s = await connect(WebSocket, base + "/flood");
    await s.next();
    s.close(4000, "enough");
    return s.end;
  },
  "server closes during an upload": async () => {
    const s = await connect(WebSocket, base + "/enough");
    for (let i = 0; i < 8; i++) s.send(new Uint8Array(MiB));
    return (await s.end).replace(/ \w*clean$/, ""); // Chromium calls it unclean when it has not sent everything
  },
  "server cuts during an upload": async () => {
    const s = await connect(WebSocket, base + "/cut");
    s.onerror = null;
    for (let i = 0; i < 8; i++) s.send(new Uint8Array(MiB));
    return (await s.end).replace("1006  ", "");
  },
  "30 connections": async () => {
    const all = await Promise.all(Array.from({length: 30}, () => connect(WebSocket, base + "/echo")));
    const got = all.map(s => s.next());
    all.forEach((s, i) => s.send("from " + i));
    const texts = await Promise.all(got);
    all.forEach(s => s.close(1000));
    const ends = new Set(await Promise.all(all.map(s => s.end)));
    return texts.every((text, i) => text === "from " + i) + ", " + [...ends].join("; ");
  },
});

// What only ws can do, or lets see.
const abuseByNode = (WebSocket, base) => run({
  "ws 8 MiB in fragments": async () => {
    const s = await connect(WebSocket, base + "/echo"), sent = pattern(8 * MiB);
    let pongs = 0;
    s.on("pong", () => pongs++);
    for (let i = 0; i < 128; i++) {
      s.send(sent.subarray(i << 16, (i + 1) << 16), {fin: i === 127});
      if (i % 16 === 0) s.ping();
    }
    const got = new Uint8Array(await s.next());
    s.close(1000);
    return same(got, sent) + " " + (pongs > 0) + ", " + await s.end;
  },
  "ws terminates in a message": async () => {
    const s = await connect(WebSocket, base + "/echo");
    s.send("beginning", {fin: false}, () => s.terminate());
    return s.end;
  },
  "ws ends the stream in a message": async () => {
    const s = await connect(WebSocket, base + "/echo");
    s.send("beginning", {fin: false}, () => s._socket.end());
    return s.end;
  },
  "ws resets": async () => {
    const s = await connect(WebSocket, base + "/flood");
    await s.next();
    s._socket.resetAndDestroy();
    return s.end;
  },
});

function server(WebSocket) {
  const wss = new WebSocket.Server({host: "127.0.0.1", port: 0, maxPayload: 9 * MiB});
  wss.on("listening", () => console.log(wss.address().port));
  wss.on("connection", (s, req) => {
    s.on("error", e => console.log("error " + e.message));
    s.on("close", (code, reason) => console.log("closed " + code + " " + reason));
    const flood = () => s.readyState === WebSocket.OPEN && s.send(Buffer.alloc(1 << 16), flood);
    const large = pattern(8 * MiB);
    switch (req.url) {
    case "/echo":
      s.on("message", (data, binary) => s.send(data, {binary}));
      break;
    case "/fragments":
      for (let i = 0; i < 128; i++) s.send(large.subarray(i << 16, (i + 1) << 16), {fin: i === 127});
      break;
    case "/flood":
      flood();
      break;
    case "/enough":
      s.once("message", () => s.close(4002, "enough"));
      break;
    case "/terminate":
      s.send("beginning", {fin: false}, () => s.terminate());
      break;
    }
  });
  process.stdin.on("end", () => process.exit()).resume();
}

if (typeof module !== "undefined") {
  const WebSocket = require("ws"), [, , mode, base] = process.argv;
  if (mode === "server") server(WebSocket);
  if (mode === "client") (async () => {
    for (const line of await abuse(WebSocket, base)) console.log(line);
    for (const line of await abuseByNode(WebSocket, base)) console.log(line);
  })();
}
