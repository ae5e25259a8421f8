// Node.js 18, that of Debian 12, has it under another name only.
globalThis.crypto ??= require("node:crypto").webcrypto;
