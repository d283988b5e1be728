#!/usr/bin/env node
// Shows what a program gets to know about the request: its environment.
//
//   wspawn ./examples/dump-env/dump-env.js
for (const name of Object.keys(process.env).sort()) {
  console.log(`${name}=${process.env[name]}`);
}
