// What a client by the browser's API does with the server of clients_test.go. Each step returns a
// string, which the test knows.
async function common(WebSocket, base) {
  const results = [];
  const step = async (name, f) => {
    let result;
    try { result = await f(); } catch (e) { result = "exception: " + (e && e.message || e); }
    results.push(name + ": " + result);
  };

  // connect resolves with an open socket that has next() for messages and end for its end.
  const connect = (path, protocols) => new Promise((resolve, reject) => {
    const s = new WebSocket(base + path, protocols || []);
    s.binaryType = "arraybuffer";
    const queue = [], waiting = [];
    s.next = () => queue.length ? Promise.resolve(queue.shift()) : new Promise(r => waiting.push(r));
    s.onmessage = e => waiting.length ? waiting.shift()(e.data) : queue.push(e.data);
    s.end = new Promise(r => s.onclose = e => r(e.code + " " + e.reason + (e.wasClean ? " clean" : " unclean")));
    s.onopen = () => resolve(s);
    s.onerror = () => s.end.then(end => reject(new Error(end)));
  });
  const close = s => { s.close(1000); return s.end; };
  const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
  const letters = n => "grüße 👋 ".repeat(Math.ceil(n / 13)).slice(0, n); // UTF-16 units; may end in half a pair

  await step("text", async () => {
    const s = await connect("/echo");
    s.send("grüße 👋");
    return await s.next() + ", " + await close(s);
  });
  await step("binary", async () => {
    const s = await connect("/echo"), sent = Uint8Array.from({length: 256}, (_, i) => i);
    s.send(sent);
    return same(new Uint8Array(await s.next()), sent) + ", " + await close(s);
  });
  await step("empty", async () => {
    const s = await connect("/echo");
    s.send("");
    s.send(new Uint8Array(0));
    const a = await s.next(), b = await s.next();
    return (a === "") + " " + b.byteLength + ", " + await close(s);
  });
  await step("1 MiB of text", async () => {
    const s = await connect("/echo"), sent = "x".repeat(1 << 20);
    s.send(sent);
    return (await s.next() === sent) + ", " + await close(s);
  });
  await step("1 MiB of bytes", async () => {
    const s = await connect("/echo"), sent = new Uint8Array(1 << 20).fill(7);
    s.send(sent);
    return same(new Uint8Array(await s.next()), sent) + ", " + await close(s);
  });
  await step("fragments", async () => {
    const s = await connect("/fragments"), sent = letters(100000).replace(/[\uD800-\uDBFF]$/, "");
    s.send(sent);
    s.send(new Uint8Array(100000));
    return (await s.next() === sent) + " " + (await s.next()).byteLength + ", " + await close(s);
  });
  await step("in flight", async () => {
    const s = await connect("/echo");
    for (let i = 0; i < 1000; i++) s.send("message " + i);
    for (let i = 0; i < 1000; i++) {
      const got = await s.next();
      if (got !== "message " + i) return "got " + got + " for " + i;
    }
    return close(s);
  });
  await step("subprotocol", async () => {
    const s = await connect("/echo", ["other", "Chat"]);
    return s.protocol + ", " + await close(s);
  });
  await step("client closes", async () => {
    const s = await connect("/echo");
    s.close(4000, "grüße");
    return s.end;
  });
  await step("client closes without a code", async () => {
    const s = await connect("/echo");
    s.close();
    return s.end;
  });
  await step("server closes", async () => {
    const s = await connect("/echo");
    s.send("close 4001 grüße");
    return s.end;
  });
  await step("server closes without a code", async () => {
    const s = await connect("/echo");
    s.send("close 1005");
    return s.end;
  });
  await step("server cuts", async () => {
    const s = await connect("/echo");
    s.send("cut");
    return s.end;
  });
  await step("server pings", async () => {
    const s = await connect("/echo");
    s.send("ping");
    return await s.next() + ", " + await close(s);
  });
  await step("too large", async () => {
    const s = await connect("/echo");
    s.send(new Uint8Array((1 << 20) + 1));
    return (await s.end).slice(0, 4); // the reason depends on how the client fragments
  });
  await step("refused", async () => {
    const s = await connect("/refused");
    return "open";
  });
  return results;
}

if (typeof module !== "undefined") module.exports = common;
