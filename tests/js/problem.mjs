// Problem files: .json and .safetensors, as docs/certificate_format.md describes them.

import { readFileSync } from "node:fs";
import { ONE, Q, ZERO, dot, fromFloat, int, least, parse, sum } from "./rational.mjs";

export function need(truth, sentence) {
  if (!truth) throw new Error(sentence);
}

// Named arrays of a .safetensors file as {shape, data: [Q]}.
export function safetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  const arrays = {};
  for (const [name, { dtype, shape, data_offsets: [first, last] }] of Object.entries(JSON.parse(bytes.subarray(8, start).toString()))) {
    const n = shape.reduce((a, b) => a * b, 1), width = (last - first) / (n || 1);
    const readers = {
      F64: (o) => fromFloat(view.getFloat64(o, true)),
      F32: (o) => fromFloat(view.getFloat32(o, true)),
      I64: (o) => new Q(view.getBigInt64(o, true)),
      U8: (o) => int(view.getUint8(o)),
    };
    need(readers[dtype] && start + last <= bytes.length, `${name}: unknown type or truncated`);
    arrays[name] = { shape, data: Array.from({ length: n }, (_, i) => readers[dtype](start + first + i * width)) };
    if (name === "spec") arrays.spec.text = bytes.subarray(start + first, start + last).toString();
  }
  return arrays;
}

export function readProblem(path) {
  const bytes = readFileSync(path);
  if (path.endsWith(".json")) return JSON.parse(bytes.toString());
  const arrays = safetensors(bytes);
  const resolve = (node) => {
    if (Array.isArray(node)) return node.map(resolve);
    if (node === null || typeof node !== "object") return node;
    if ("array" in node) return arrays[node.array];
    return Object.fromEntries(Object.entries(node).map(([k, v]) => [k, resolve(v)]));
  };
  return resolve(JSON.parse(arrays.spec.text));
}

const real = (x) => (x instanceof Q ? x : typeof x === "number" ? int(x) : parse(x));

function array(node, ...shape) {
  need(node.shape.length === shape.length && shape.every((n, i) => n === null || n === node.shape[i]), "an array has the wrong shape");
  need(node.data.length === node.shape.reduce((a, b) => a * b, 1), "an array has the wrong length");
  return node.data.map(real);
}

const whole = (list) => list.map((x) => { need(x.d === 1n && x.n >= 0n, "expected indices"); return Number(x.n); });
const at = (name, list, weights) => weights ?? list.map(() => ONE);

export class Problem {
  constructor(tree) {
    need(tree.schema === "exact-unlearn/problem" && tree.version === 1, "no problem of version 1");
    this.start = array(tree.theta_star, null);
    this.d = this.start.length;
    this.rhs = array(tree.rhs, null);
    const mask = whole(array(tree.free, this.d));
    const terms = tree.drift_penalty, of = (name) => terms.filter((t) => t.name === name);
    this.lam = sum(of("squared_drift").map((t) => real(t.lam)));
    this.mu = sum(of("l1_drift").map((t) => real(t.lam)));
    const radii = (norm) => of("trust_region").filter((t) => t.norm === norm).map((t) => real(t.radius));
    this.rho = radii("2").length ? least(radii("2")) : null;
    this.box = radii("inf").length ? least(radii("inf")) : null;
    const stuck = (this.rho && this.rho.n === 0n) || (this.box && this.box.n === 0n);
    this.free = mask.flatMap((flag, j) => (flag && !stuck ? [j] : []));
    this.isFree = new Set(this.free);
    this.rows = this.jacobian(tree.jacobian);
    this.R = this.regularizer(tree.regularizer);
  }

  // Rows of J over all coordinates; only the free ones are ever used.
  jacobian(spec) {
    const k = this.rhs.length, { d } = this;
    if (spec.kind === "dense") {
      const flat = array(spec.matrix, k, d);
      return Array.from({ length: k }, (_, i) => flat.slice(i * d, (i + 1) * d));
    }
    const [h, l] = spec.V.shape, [n, m] = spec.X.shape, V = array(spec.V, h, l), X = array(spec.X, n, m);
    need(spec.kind === "product" && spec.n_parameters === d && k === n * l && spec.block[1] - spec.block[0] === h * m, "the product does not fit");
    this.product = { V, X, h, l, n, m, start: spec.block[0] };
    return Array.from({ length: k }, (_, i) => {
      const row = Array(d).fill(ZERO);
      for (let a = 0; a < h; a++) for (let c = 0; c < m; c++) {
        row[spec.block[0] + a * m + c] = V[a * l + (i % l)].times(X[Math.floor(i / l) * m + c]);
      }
      return row;
    });
  }

  regularizer(spec) {
    const { d } = this, name = spec.name, zeros = Array(d).fill(ZERO), ones = Array(d).fill(ONE);
    const weights = spec.weights ? array(spec.weights, null) : null;
    need(!weights || weights.every((w) => w.sign() >= 0), "a weight is negative");
    const plain = { name, alpha: zeros, beta: zeros };
    if (name === "squared_l2") return { ...plain, separable: true, beta: weights ?? ones };
    if (name === "l1") return { ...plain, separable: true, alpha: weights ?? ones };
    if (name === "elastic_net") return { ...plain, separable: true, alpha: zeros.map(() => real(spec.alpha)), beta: zeros.map(() => real(spec.beta)) };
    if (name === "l2" || name === "linf") {
      const w = weights ?? ones;
      need(w.length === d, "weights of the wrong length");
      return { ...plain, w, seen: w.map((x) => x.n !== 0n) };
    }
    if (name === "group_l2") {
      const labels = whole(array(spec.labels, d)), G = labels.reduce((a, b) => Math.max(a, b + 1), 0), w = weights ?? Array(G).fill(ONE);
      const groups = Array.from({ length: G }, (_, g) => labels.flatMap((x, j) => (x === g ? [j] : [])));
      return { ...plain, labels, groups, w, seen: labels.map((g) => w[g].n !== 0n) };
    }
    if (name === "predictor_norm") {
      const [h, m] = spec.shape, [, l] = spec.V.shape, inside = (j) => j >= spec.block[0] && j < spec.block[1];
      return { ...plain, V: array(spec.V, h, l), h, m, l, start: spec.block[0], seen: zeros.map((_, j) => inside(j)) };
    }
    if (name === "nuclear_norm") {
      const [p, q] = spec.shape, indices = whole(array(spec.indices, p * q)), inside = new Set(indices);
      return { ...plain, p, q, indices, seen: zeros.map((_, j) => inside.has(j)) };
    }
    need(name === "l0" || name === "active_neurons", `unknown regularizer ${name}`);
    return { ...plain, count: true, charge: this.charges(spec) };
  }

  charges(spec) {
    if (spec.name === "l0") return spec.labels ? whole(array(spec.labels, this.d)) : this.start.map((_, j) => j);
    const { n_inputs: m, width: h, n_outputs: l } = spec, cut = l * h;
    const live = Array.from({ length: h }, (_, i) => this.start.slice(cut + i * m, cut + (i + 1) * m).some((x) => x.n !== 0n));
    return this.start.map((_, j) => (j < cut && live[j % h] ? j % h : -1));
  }

  // (J^T nu)_j on free coordinates, 0 elsewhere.
  pullback(nu) {
    const z = Array(this.d).fill(ZERO);
    for (const j of this.free) z[j] = dot(nu, this.rows.map((row) => row[j]));
    return z;
  }
}
