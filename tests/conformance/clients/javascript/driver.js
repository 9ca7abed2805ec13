// What the drivers of the JavaScript clients share: a request a line on stdin, its answer a line on stdout, as ../python/driver.py
// says. The clients themselves come from a directory of packages that NODE_PATH names.
"use strict";

const readline = require("node:readline");

const TIMEOUT_MS = 30_000;

const encoded = (data) => (data === null || data === undefined ? null : Buffer.from(data).toString("base64"));

const decoded = (text) => (text === null ? null : Buffer.from(text, "base64"));

// What comes of a promise, unless it takes longer than an operation may.
async function within(promise, what, milliseconds = TIMEOUT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what()} after ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// Answers requests until stdin ends, then closes; `errorCode` finds a client's error's Kafka error code, or null.
async function serve(operations, errorCode, close) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = { ok: await operations[request.op](request) };
    } catch (error) {
      answer = { error: { code: errorCode(error), message: String(error.message) } };
      console.error(error);
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  await close();
  process.exit(0);
}

module.exports = { TIMEOUT_MS, decoded, encoded, serve, within };
