#!/usr/bin/env node
// Sends every message back.
//
//   wspawn ./examples/echo/echo.js
process.stdin.pipe(process.stdout);
