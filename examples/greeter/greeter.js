#!/usr/bin/env node
// Greets whoever says a name: each message is a line on stdin, each line on
// stdout is the answer.
//
//   wspawn ./examples/greeter/greeter.js
const { createInterface } = require("node:readline");

createInterface({ input: process.stdin }).on("line", (name) => {
  console.log(`Hello, ${name}!`);
});
