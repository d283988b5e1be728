#!/usr/bin/env node
// Counts, slowly: each line that a program prints is one WebSocket message.
//
//   wspawn ./examples/count/count.js
//
// Arguments: how far (10), and the pause after each number in seconds (1).
const { setTimeout: sleep } = require("node:timers/promises");

const [last = 10, pause = 1] = process.argv.slice(2).map(Number);

async function main() {
  for (let n = 1; n <= last; n++) {
    console.log(n);
    await sleep(1000 * pause);
  }
}

main();
