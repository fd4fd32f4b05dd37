// A reader of golden fixtures, written from docs/fixtures.md alone.  node fixtures.mjs DIRECTORY [ANSWERS]
//
// It knows nothing of the Python sources and uses no package: hashes, the list of files, the canonical form, every
// certificate, the region of right answers, and the refusal of every wrong one are decided here a second time.  ANSWERS
// is a list of [ID, [RAT, ...]]: is each of these answers right?

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { check, predictor as networkPredictor, regularizer } from "../../exact_unlearn/web/checker/checker.mjs";
import { HALF, ONE, Q, ZERO, dot, fromFloat, int, largest, parse, roots, sum } from "../../exact_unlearn/web/checker/rational.mjs";
import { Problem, need } from "../../exact_unlearn/web/checker/problem.mjs";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const length = (x) => roots(dot(x, x))[1];
const minus = (a, b) => a.map((x, i) => x.minus(b[i]));

// ---------------------------------------------------------------- files

// JSON with sorted keys and no white space; keys are ASCII, so sorting by UTF-16 units is sorting by bytes.
export function canonical(node) {
  if (Array.isArray(node)) return `[${node.map(canonical).join(",")}]`;
  if (node !== null && typeof node === "object") {
    return `{${Object.keys(node).sort().map((key) => `${JSON.stringify(key)}:${canonical(node[key])}`).join(",")}}`;
  }
  need(typeof node !== "number" || Number.isSafeInteger(node), "a number is no integer");
  return JSON.stringify(node).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// name -> {shape, data: [Q]}; anything but the canonical bytes is refused
export function arraysOf(bytes) {
  need(bytes.length >= 8, "truncated");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), size = Number(view.getBigUint64(0, true));
  need(size <= 1 << 20 && 8 + size <= bytes.length, "the header is longer than the file");
  const text = bytes.subarray(8, 8 + size).toString("latin1"), header = JSON.parse(text), found = new Map();
  need(text === canonical(header).padEnd(Math.ceil(canonical(header).length / 8) * 8, " "), "the header is not canonical");
  let at = 8 + size;
  for (const name of Object.keys(header).sort()) {
    const { dtype, shape, data_offsets: [first, last] } = header[name], n = shape.reduce((a, b) => a * b, 1);
    need(dtype === "F64" && 8 + size + first === at && last - first === 8 * n, `${name}: type, offsets or shape`);
    need(at + 8 * n <= bytes.length, `${name}: truncated`);
    found.set(name, { shape, data: Array.from({ length: n }, (_, i) => fromFloat(view.getFloat64(at + 8 * i, true))) });
    at += 8 * n;
  }
  need(at === bytes.length, "bytes follow the last array");
  return found;
}

function filesBelow(folder, prefix = "") {
  return readdirSync(folder).sort().flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? [`${prefix}${name}/`, ...filesBelow(path, `${prefix}${name}/`)] : [prefix + name];
  });
}

const NEW = ["two-layer", "diagonal"]; // what cases of version 2 ask for

export function readFixtures(folder) {
  const bytes = (name) => readFileSync(join(folder, name));
  const lines = ["manifest.json", "schema.json"].map((name) => `${sha256(bytes(name))}  ${name}\n`).join("");
  need(bytes("SHA256SUMS").toString() === lines, "SHA256SUMS: does not hold the hashes of manifest.json and schema.json");
  const text = bytes("manifest.json").toString(), manifest = JSON.parse(text);
  need(text === `${canonical(manifest)}\n`, "manifest.json: not in canonical form");
  need(manifest.schema === "exact-unlearn/fixtures" && [1, 2].includes(manifest.version), "manifest.json: another format");
  const wanted = ["SHA256SUMS", "cases/", "manifest.json", "schema.json", ...manifest.cases.map((entry) => entry.file)].sort();
  const there = filesBelow(folder).sort();
  need(canonical(wanted) === canonical(there), "files are missing, or foreign ones are there");
  const cases = new Map();
  for (const entry of manifest.cases) {
    need(entry.file === `cases/${entry.id}.safetensors` && !cases.has(entry.id), `${entry.id}: another name, or twice`);
    need(["valid", "acceptable", "invalid", "trajectory"].includes(entry.kind), `${entry.id}: an unknown kind`);
    const about = entry.kind === "invalid" ? cases.get(entry.of)?.entry : entry, { asks } = about ?? {};
    need(about && NEW.includes(asks) === (manifest.version === 2), `${entry.id}: no case of this version, or of none`);
    need(entry.flags.every((flag) => flag in manifest.flags), `${entry.id}: an unknown flag`);
    const content = bytes(entry.file);
    need(sha256(content) === entry.sha256, `${entry.file}: another content than the manifest says`);
    cases.set(entry.id, { entry, arrays: arraysOf(content) });
  }
  return { manifest, cases };
}

function resolved(node, arrays) {
  if (Array.isArray(node)) return node.map((child) => resolved(child, arrays));
  if (node === null || typeof node !== "object") return node;
  if (Object.keys(node).length === 1 && typeof node.array === "string") {
    need(arrays.has(node.array), `there is no array ${node.array}`);
    return arrays.get(node.array);
  }
  return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, resolved(child, arrays)]));
}

// ---------------------------------------------------------------- the region of right answers

// Of a matrix with two rows or columns at most: (|X|_F^2 + 2 (det of the Gram matrix)^1/2)^1/2
function nuclear(entries, p, q) {
  const rows = Array.from({ length: p }, (_, i) => entries.slice(i * q, (i + 1) * q));
  const thin = p <= q ? rows : Array.from({ length: q }, (_, c) => rows.map((row) => row[c]));
  need(thin.length <= 2, "a matrix with more than two rows and columns");
  if (thin.length === 1) return length(thin[0]);
  const [a, b, c] = [dot(thin[0], thin[0]), dot(thin[1], thin[1]), dot(thin[0], thin[1])];
  return roots(a.plus(b).plus(int(2).times(roots(a.times(b).minus(c.squared()))[1])))[1];
}

const absolute = (list) => list.map((x) => x.abs());

class Region {
  constructor(entry, arrays) {
    this.tolerance = Object.fromEntries(Object.entries(entry.tolerance).map(([name, text]) => [name, parse(text)]));
    const tree = resolved(entry.problem, arrays);
    this.proof = check(tree, entry.certificate);
    this.P = new Problem(tree);
    this.mask = tree.free.data;
    this.unique = entry.unique;
    this.expected = Object.fromEntries(Object.entries(entry.expected).map(([name, node]) => [name, arrays.get(node.array).data]));
    const { start, rhs } = this.P;
    this.unit = [...start, ...rhs].every((x) => x.n === 0n) ? ONE : ZERO;
    if (this.proof.proof === "infeasible") return;
    const { name } = this.P.R, own = name === "predictor_norm" ? length(this.predictor(start, true)) : this.R(start);
    const size = largest([this.proof.upper, own]);
    this.size = size.n === 0n ? ONE : size;
  }

  predictor(theta, abs = false) {
    const { R } = this.P;
    return abs ? networkPredictor({ ...R, V: absolute(R.V) }, absolute(theta)) : networkPredictor(R, theta);
  }

  R(theta) {
    const { P } = this, { R } = P;
    if (R.name === "nuclear_norm") return nuclear(R.indices.map((j) => theta[j]), R.p, R.q);
    if (!R.count) return regularizer(P, theta)[1];
    const least = this.tolerance.feasibility.times(largest([...theta, ...P.start].map((x) => x.abs())));
    return int(new Set(theta.flatMap((x, j) => (x.abs().above(least) && R.charge[j] >= 0 ? [R.charge[j]] : []))).size);
  }

  // Every reason why theta lies outside; none: it is a right answer.
  reasons(theta) {
    const { P, tolerance, unit } = this, found = [];
    if (this.proof.proof === "infeasible") return ["there is no answer"];
    const drift = minus(theta, P.start);
    if (drift.some((x, j) => this.mask[j].n === 0n && x.n !== 0n)) found.push("frozen coordinates moved");
    const reach = length(theta).plus(length(P.start)).plus(unit);
    P.rows.forEach((row, i) => {
      const error = dot(P.free.map((j) => row[j]), P.free.map((j) => drift[j])).minus(P.rhs[i]).abs();
      const scale = length(P.free.map((j) => row[j])).times(reach).plus(P.rhs[i].abs());
      if (error.above(tolerance.feasibility.times(scale))) found.push(`row ${i} does not hold`);
    });
    const outside = (extent, radius, start) => extent.minus(radius).above(tolerance.feasibility.times(radius.plus(start)));
    if (P.rho && outside(length(drift), P.rho, length(P.start))) found.push("outside the ball");
    if (P.box && outside(largest(absolute(drift)), P.box, largest(absolute(P.start)))) found.push("outside the box");
    const penalty = HALF.times(P.lam).times(dot(drift, drift)).plus(P.mu.times(sum(absolute(drift))));
    const value = this.R(theta).plus(penalty), allowed = tolerance.value.times(this.size);
    if (value.minus(this.proof.upper).above(allowed)) found.push("above the optimum");
    const below = (tolerance.below ?? tolerance.value).times(this.size);
    if (this.proof.lower.minus(value).above(below)) found.push("below the optimum");
    if (this.unique === "theta") {
      const scale = largest([length(this.expected.theta), length(P.start), unit]);
      if (length(minus(theta, this.expected.theta)).above(tolerance.theta.times(scale.n === 0n ? ONE : scale))) found.push("another point");
    } else if (this.unique === "predictor") {
      const scale = largest([length(this.expected.predictor), length(this.predictor(P.start, true)), unit]);
      const apart = length(minus(this.predictor(theta), this.expected.predictor));
      if (apart.above(tolerance.theta.times(scale.n === 0n ? ONE : scale))) found.push("another predictor");
    }
    return found;
  }
}

// ---------------------------------------------------------------- Theorem 4

// [A_1, ..., C] from theta = [C; A_1; ...], each row-major
function layersOf(widths, theta) {
  const L = widths.length - 1, found = [];
  let at = 0;
  for (const i of [L, ...Array.from({ length: L - 1 }, (_, k) => k + 1)]) {
    const [rows, columns] = [widths[i], widths[i - 1]];
    found[i - 1] = Array.from({ length: rows }, (_, r) => theta.slice(at + r * columns, at + (r + 1) * columns));
    at += rows * columns;
  }
  need(at === theta.length, "theta has another length");
  return found;
}

const through = (layers) => layers.reduce((end, M) => M.map((row) => end[0].map((_, c) => dot(row, end.map((x) => x[c])))))[0];
const positive = (layers) => layers.map((M) => M.map(absolute));

function networkReasons(entry, arrays, region, theta) {
  const { tolerance } = region, { widths } = entry.model, layers = layersOf(widths, theta), L = layers.length, found = [];
  const data = (name) => arrays.get(entry.data[name].array), w = through(layers), reach = through(positive(layers));
  const X = data("x_retain"), y = data("y_retain").data, m = X.shape[1], start = data("theta_star").data;
  y.forEach((label, i) => {
    const x = X.data.slice(i * m, (i + 1) * m), scale = dot(reach, absolute(x)).plus(label.abs());
    if (dot(w, x).minus(label).abs().above(tolerance.feasibility.times(scale))) found.push(`sample ${i} is missed`);
  });
  const square = dot(theta, theta), rho2 = region.proof.upper.squared(), mean = square.over(int(L));
  const power = Array.from({ length: L }).reduce((x) => x.times(mean), ONE);
  const norm2 = dot(start, start), excess = rho2.n === 0n
    ? square.over(norm2.n === 0n ? ONE : norm2) : power.minus(rho2).abs().over(rho2).over(int(L));
  if (excess.above(tolerance.value)) found.push("not the least norm");
  const goal = region.expected.predictor, scale = largest([length(goal), length(through(positive(layersOf(widths, start))))]);
  if (length(minus(w, goal)).above(tolerance.theta.times(scale.n === 0n ? ONE : scale))) found.push("another predictor");
  return found;
}

// ---------------------------------------------------------------- networks of two layers

const SLOPES = { relu: ZERO, leaky_relu: new Q(1n, 4n), abs: ONE.negated() };

// theta = [C; A]: the labels, and R against what is proved of all networks
function twoLayerReasons(entry, arrays, region, theta) {
  const { tolerance, proof } = region, { width, n_inputs: m, activation } = entry.model, found = [];
  if (proof.proof === "infeasible") return ["there is no answer"];
  if (theta.length !== width * (m + 1)) return ["another number of parameters"];
  const neurons = Array.from({ length: width }, (_, j) => [theta[j], theta.slice(width + j * m, width + (j + 1) * m)]);
  const phi = (z) => (z.sign() < 0 ? SLOPES[activation].times(z) : z), X = arrays.get(entry.data.x_retain.array).data;
  arrays.get(entry.data.y_retain.array).data.forEach((label, i) => {
    const x = X.slice(i * m, (i + 1) * m);
    const output = sum(neurons.map(([c, a]) => c.times(phi(dot(a, x)))));
    const scale = sum(neurons.map(([c, a]) => c.abs().times(dot(absolute(a), absolute(x))))).plus(label.abs());
    if (output.minus(label).abs().above(tolerance.feasibility.times(scale))) found.push(`sample ${i} is missed`);
  });
  const R = entry.regularizer === "squared" ? HALF.times(dot(theta, theta)) : sum(neurons.map(([c, a]) => c.abs().times(sum(absolute(a)))));
  const allowed = tolerance.value.times(proof.upper.n === 0n ? ONE : proof.upper);
  if (R.minus(proof.upper).above(allowed)) found.push("above the optimum of all networks");
  if (proof.lower.minus(R).above(allowed)) found.push("below the optimum of all networks");
  return found;
}

// ---------------------------------------------------------------- all of it

// Why an answer lies outside; none: it is right.
function outside({ entry, arrays }, region, theta) {
  if (entry.asks === "network") return networkReasons(entry, arrays, region, theta);
  return entry.asks === "two-layer" ? twoLayerReasons(entry, arrays, region, theta) : region.reasons(theta);
}

// A trajectory: iterates of one length, and planted mistakes that leave the tolerance.  That the iterates are those of
// the algorithm takes 50-digit arithmetic, and is decided elsewhere.
function trajectoryReasons({ entry, arrays }) {
  const what = entry.trajectory, goal = arrays.get(entry.expected.iterates.array), d = arrays.get(what.theta_star.array).data.length;
  if (goal.shape[1] !== d || goal.shape[0] !== what.steps.length + 1) return ["the iterates have another shape"];
  const scale = largest(goal.data.map((x) => x.abs())), allowed = parse(entry.tolerance.iterates).times(scale);
  return what.mistakes.flatMap(({ bug, iterates }) => {
    const wrong = arrays.get(iterates.array);
    const differs = wrong.data.length !== goal.data.length || wrong.data.some((x, i) => x.minus(goal.data[i]).abs().above(allowed));
    return differs ? [] : [`the mistake ${bug} is none`];
  });
}

export function verify(folder) {
  const { cases } = readFixtures(folder), failures = [], counts = { proofs: 0, refused: 0, trajectories: 0 }, regions = new Map();
  for (const item of cases.values()) {
    const { entry, arrays } = item, { id, kind } = entry;
    try {
      if (kind === "trajectory") {
        failures.push(...trajectoryReasons(item).map((reason) => `${id}: ${reason}`));
        counts.trajectories++;
      } else if (kind === "invalid") {
        const stated = cases.get(entry.of), theta = arrays.get(entry.answer.array).data;
        if (outside(stated, regions.get(entry.of), theta).length === 0) failures.push(`${id}: the wrong answer is accepted`);
        counts.refused++;
      } else {
        const region = new Region(entry, arrays);
        regions.set(id, region);
        const none = region.proof.proof === "infeasible";
        if (none !== !entry.expected.theta) failures.push(`${id}: an answer where there is none, or none where there is one`);
        if (!none) failures.push(...outside(item, region, region.expected.theta).map((reason) => `${id}: the stored answer: ${reason}`));
        if (!none && region.proof.proof !== entry.certificate.claims.proof) failures.push(`${id}: proved ${region.proof.proof} only`);
        counts.proofs++;
      }
    } catch (error) {
      failures.push(`${id}: ${error.message}`);
    }
  }
  return { cases: cases.size, ...counts, failures };
}

export function decide(folder, answers) {
  const { cases } = readFixtures(folder), regions = new Map();
  return answers.map(([id, texts]) => {
    const { entry, arrays } = cases.get(id), theta = texts.map(parse);
    if (!regions.has(id)) regions.set(id, new Region(entry, arrays));
    return outside({ entry, arrays }, regions.get(id), theta).length === 0;
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const [, , folder, answers] = process.argv;
    const found = answers ? decide(folder, JSON.parse(readFileSync(answers, "utf8"))) : verify(folder);
    console.log(JSON.stringify(found));
    process.exitCode = found.failures?.length ? 1 : 0;
  } catch (error) {
    console.log(JSON.stringify({ failures: [error.message] }));
    process.exitCode = 1;
  }
}
