// Compression. In the page and in node, echoes(WebSocket, url, options) has messages of all kinds echoed
// and returns what was agreed on, or what went wrong. In node:
//   node deflate.js client ws://host:port/   with all parameters that the npm package ws knows
//   node deflate.js server                   echoes, with the parameters in the query; prints its port
async function echoes(WebSocket, url, options) {
  const s = options ? new WebSocket(url, options) : new WebSocket(url);
  s.binaryType = "arraybuffer";
  const end = new Promise(r => s.onclose = e => r("closed " + e.code + " " + e.reason));
  const failed = new Promise(r => s.onerror = e => r(end));
  const opened = new Promise(r => s.onopen = () => r(""));
  const problem = await Promise.race([opened, failed]);
  if (problem) return problem;
  const random = n => Uint8Array.from({length: n}, () => Math.random() * 256);
  const item = i => JSON.stringify({id: i, name: "grüße 👋 " + i % 7, price: i * 1.25});
  const messages = ["", "x", new Uint8Array(0), "x".repeat(200000), new Uint8Array(200000).fill(7), random(100000), random(10)];
  for (let i = 0; i < 100; i++) messages.push(item(i).repeat(1 + i % 20));
  for (let i = 0; i < 4; i++) messages.push(random(300), Array.from({length: 1000}, (_, k) => item(k * i)).join("\n"));
  const got = new Promise(r => {
    let i = 0;
    s.onmessage = e => {
      const want = messages[i], data = e.data;
      const same = typeof want === "string" ? want === data :
        want.length === data.byteLength && new Uint8Array(data).every((b, k) => b === want[k]);
      if (!same) r("message " + i + " differs");
      if (++i === messages.length) r("");
    };
  });
  for (const m of messages) s.send(m);
  const result = await Promise.race([got, failed, end]);
  const agreed = typeof s.extensions === "string" ? s.extensions : "";
  s.close(1000);
  return result || agreed + ", " + await end;
}

if (typeof module !== "undefined") {
  const WebSocket = require("ws"), [, , mode, base] = process.argv;
  const agreed = s => {
    const pmd = s._extensions && s._extensions["permessage-deflate"];
    return pmd ? JSON.stringify(pmd.params) : "nothing";
  };
  let lines = 0;
  if (mode === "client") (async () => {
    for (const server of ["", "?window=512", "?peer=4096", "?window=32768&peer=32768", "?window=8192&peer=512&level=9&fragment=1000"])
      for (const serverNoContextTakeover of [undefined, true]) for (const clientNoContextTakeover of [undefined, true])
        for (const serverMaxWindowBits of [undefined, 9]) for (const clientMaxWindowBits of [undefined, 10]) {
          const options = {perMessageDeflate: {threshold: lines++ % 3 * 500, serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits}};
          console.log(JSON.stringify({server, ...options.perMessageDeflate}) + ": " + await echoes(WebSocket, base + server, options));
        }
  })();
  if (mode === "server") {
    const server = require("http").createServer();
    server.on("upgrade", (req, socket, head) => {
      const perMessageDeflate = JSON.parse(decodeURIComponent(req.url.split("?")[1]));
      const wss = new WebSocket.Server({noServer: true, perMessageDeflate});
      wss.handleUpgrade(req, socket, head, s => {
        s.on("message", (data, binary) => s.send(data, {binary}));
        s.on("error", e => console.log("error: " + e.message));
        s.on("close", code => console.log("closed " + code));
      });
    });
    server.listen(0, "127.0.0.1", () => console.log(server.address().port));
    process.stdin.on("end", () => process.exit()).resume();
  }
}
