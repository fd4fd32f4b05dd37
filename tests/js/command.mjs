// The JavaScript checker as a command.
//
//   node command.mjs PROBLEM CERTIFICATE [--tau T]     node command.mjs CERTIFICATE     node command.mjs --batch JOBS
//
// JOBS holds one object per line, {"problem": text or null, "certificate": text, "tau": RAT or null} or {"files":
// [PROBLEM, CERTIFICATE], "tau": ...}; a line of verdict answers each.  Problem files are .json or .safetensors.

import { readFileSync } from "node:fs";
import { answer } from "../../exact_unlearn/web/checker/checker.mjs";
import { member, need, parseJson, range, sizes } from "../../exact_unlearn/web/checker/problem.mjs";
import { Q, fromFloat, int, parse } from "../../exact_unlearn/web/checker/rational.mjs";

// Named arrays of a .safetensors file as {shape, data: [Q]}.
function safetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  need(start <= bytes.length, "the header is longer than the file");
  const arrays = {};
  let room = bytes.length - start;
  for (const [name, item] of Object.entries(parseJson(bytes.subarray(8, start)))) {
    if (name === "__metadata__") continue;
    const shape = sizes(member(item, "shape")), [first, last] = sizes(member(item, "data_offsets"), 2, bytes.length - start);
    room -= last - first;
    need(first <= last && room >= 0, "arrays overlap");
    const n = shape.reduce((a, b) => a * b, 1), dtype = member(item, "dtype");
    const readers = {
      F64: [8, (o) => fromFloat(view.getFloat64(o, true))],
      F32: [4, (o) => fromFloat(view.getFloat32(o, true))],
      I64: [8, (o) => new Q(view.getBigInt64(o, true))],
      U8: [1, (o) => int(view.getUint8(o))],
      BOOL: [1, (o) => int(view.getUint8(o) ? 1 : 0)],
    };
    need(Object.hasOwn(readers, dtype), `${name}: unknown type`);
    const [width, read] = readers[dtype];
    need(n * width === last - first, `${name}: not as many bytes as its shape says`);
    if (name === "spec") arrays.spec = bytes.subarray(start + first, start + last);
    else arrays[name] = { shape, data: range(n).map((i) => read(start + first + i * width)) };
  }
  return arrays;
}

function readProblem(path) {
  const bytes = readFileSync(path);
  if (path.endsWith(".json")) return parseJson(bytes);
  const arrays = safetensors(bytes);
  const resolve = (node) => {
    if (Array.isArray(node)) return node.map(resolve);
    if (node === null || typeof node !== "object") return node;
    if ("array" in node) return member(arrays, node.array);
    return Object.fromEntries(Object.entries(node).map(([k, v]) => [k, resolve(v)]));
  };
  return resolve(parseJson(arrays.spec));
}

function batch(path) {
  const bytes = (x) => Buffer.from(x, "utf8");
  for (const line of readFileSync(path, "utf8").split("\n").filter((x) => x)) {
    const { problem, certificate, files, tau } = JSON.parse(line);
    const about = files ? () => readProblem(files[0]) : problem === null ? null : () => parseJson(bytes(problem));
    const claim = () => parseJson(files ? readFileSync(files[1]) : bytes(certificate));
    console.log(JSON.stringify(answer(about, claim, tau === null ? null : parse(tau))));
  }
}

const files = process.argv.slice(2), at = files.indexOf("--tau");
if (files[0] === "--batch") batch(files[1]);
else {
  const tau = at < 0 ? null : fromFloat(Number(files.splice(at, 2)[1]));
  const problem = files.length > 1 ? () => readProblem(files[0]) : null;
  const { status, sentence } = answer(problem, () => parseJson(readFileSync(files[files.length - 1])), tau);
  console.log(sentence);
  process.exitCode = status;
}
