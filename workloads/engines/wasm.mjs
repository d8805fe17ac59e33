// V8, by node: `node wasm.mjs FOLDER`, where FOLDER has NAME.wasm for each program. Speaks as runner.c does; it has no gauge, so that
// every round counts as calm.
import { readFileSync, existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import process from 'node:process';

const folder = process.argv[2];
const sizes = { memory: 16384, entries: 256 };
const mask = (1n << 64n) - 1n;
let current = null;
let calm = 0;

function say(word, told) {
  process.stdout.write(`${word} ${JSON.stringify(told)}\n`);
}

// The inputs of inputs.c.
function xorshift(state) {
  let x = state;
  return () => {
    x ^= (x << 13n) & mask;
    x ^= x >> 7n;
    x ^= (x << 17n) & mask;
    return x;
  };
}

function fillBytes(memory) {
  const next = xorshift(0x2545f4914f6cdd1dn);
  for (let i = 0; i < sizes.memory; i++) memory[i] = Number((next() >> 24n) & 255n);
}

function fillNumbers(memory) {
  const view = new DataView(memory.buffer, memory.byteOffset, sizes.memory);
  const next = xorshift(0x9e3779b97f4a7c15n);
  for (let i = 0; i < sizes.memory / 8; i++) {
    const number = next();
    view.setBigUint64(8 * i, number >> (next() & 63n), true);
  }
}

function fillStrings(memory, differ) {
  fillBytes(memory);
  for (let i = 0; i < 1024; i++) memory[8192 + i] = memory[i] = (memory[i] % 255) + 1;
  memory[1023] = memory[8192 + 1023] = 0;
  if (differ) memory[8192 + 400] ^= 0x55;
}

function fill(input, memory, values) {
  if (input === 'same' || input === 'different') fillStrings(memory, input === 'different');
  else if (input === 'numbers') fillNumbers(memory);
  else fillBytes(memory);
  memory.fill(0, sizes.memory - 8, sizes.memory);
  for (let i = 0; i < sizes.entries; i++) values[i] = (BigInt(i) * 2654435761n + 7n) & mask;
}

function digest(memory) {
  let d = 0xcbf29ce484222325n;
  for (let i = 0; i < sizes.memory; i++) d = ((d ^ BigInt(memory[i])) * 0x100000001b3n) & mask;
  return d;
}

function hex(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(number);
  return bytes.toString('hex');
}

function load(name, input) {
  const file = `${folder}/${name}.wasm`;
  if (!/^[a-z0-9_]+$/.test(name) || !existsSync(file)) return say('REFUSED', { message: `there is no ${name}.wasm` });
  const bytes = readFileSync(file);
  const start = process.hrtime.bigint();
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {});
  const spent = process.hrtime.bigint() - start;
  const exports = instance.exports;
  const memory = new Uint8Array(exports.memory.buffer, exports.memory_at(), sizes.memory);
  const values = new BigUint64Array(exports.memory.buffer, exports.values_at(), sizes.entries);
  fill(input, memory, values);
  current = { many: exports.many, memory };
  return say('LOADED', { program: name, engine: 'v8', compile_ns: Number(spent), code_size: null });
}

function run(calls, wanted, most) {
  const rounds = [];
  while (rounds.length < Math.min(wanted, most)) {
    const start = process.hrtime.bigint();
    current.many(calls);
    rounds.push(Number(process.hrtime.bigint() - start));
  }
  const usage = process.cpuUsage();
  const view = new DataView(current.memory.buffer, current.memory.byteOffset, sizes.memory);
  say('DONE', {
    calls: calls * rounds.length, hits: null, result: hex(view.getBigUint64(sizes.memory - 8, true)),
    memory: hex(digest(current.memory)), cpu_ns: (usage.user + usage.system) * 1000, core: calm,
    clock: 'CLOCK_MONOTONIC', rounds, calm: rounds.map(() => 1),
  });
}

say('READY', { pid: process.pid });
for await (const line of createInterface({ input: process.stdin })) {
  const [word, ...rest] = line.split(' ');
  if (word === 'quit') break;
  if (word === 'load' && rest.length === 2) load(rest[0], rest[1]);
  else if (word === 'calm') { calm = Number(rest[0]); process.stdout.write('OK calm\n'); }
  else if (word === 'run' && current && rest.length === 3) run(...rest.map(Number));
  else { say('ERROR', { stage: 'command', message: `unknown command: ${line}` }); process.exit(3); }
}
process.exit(0);
