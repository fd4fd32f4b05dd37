// Problems, as docs/certificate_format.md describes them.

import { readForm } from "./forms.mjs";
import { readOrigin } from "./origin.mjs";
import { ONE, PER_ENTRY, Q, ZERO, dot, int, least, need, parse, ratio, sum, work } from "./rational.mjs";

export { need };

// ---------------------------------------------------------------- JSON

const MAX_DEPTH = 64, SPACE = new Set([" ", "\t", "\n", "\r"]);

// RFC 8259 in UTF-8 without floats, NaN, duplicate keys, integers beyond 2^53, and deep nesting.
export function parseJson(bytes) {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  let at = 0;
  const fail = () => { throw new Error(`no JSON at character ${at}`); };
  const space = () => { while (SPACE.has(text[at])) at++; };
  const string = () => {
    const start = at++;
    for (; text[at] !== '"'; at++) {
      if (at >= text.length || text[at] < " ") fail();
      if (text[at] === "\\") at++;
    }
    return JSON.parse(text.slice(start, ++at)); // escapes
  };
  const value = (depth) => {
    space();
    const c = text[at];
    if (c === '"') return string();
    if (c === "{" || c === "[") {
      need(depth < MAX_DEPTH + 1, "nested too deeply");
      const found = c === "{" ? Object.create(null) : [], close = c === "{" ? "}" : "]";
      at++;
      space();
      if (text[at] === close) { at++; return found; }
      for (;;) {
        if (c === "{") {
          space();
          if (text[at] !== '"') fail();
          const key = string();
          need(!(key in found), "a key occurs twice in one object");
          space();
          if (text[at++] !== ":") fail();
          found[key] = value(depth + 1);
        } else found.push(value(depth + 1));
        space();
        const next = text[at++];
        if (next === close) return found;
        if (next !== ",") fail();
      }
    }
    for (const [word, meaning] of [["true", true], ["false", false], ["null", null]]) {
      if (text.startsWith(word, at)) { at += word.length; return meaning; }
    }
    const number = /-?(?:0|[1-9][0-9]*)/y;
    number.lastIndex = at;
    const match = number.exec(text);
    if (!match) fail();
    at += match[0].length;
    need(!/[.eE]/.test(text[at] ?? " "), "a number is no integer");
    need(match[0].length < 18 && Number.isSafeInteger(Number(match[0])), "an integer is out of range");
    return Number(match[0]) + 0;
  };
  const tree = value(0);
  space();
  if (at !== text.length) fail();
  return tree;
}

// ---------------------------------------------------------------- values of the trees

export const isObject = (x) => x !== null && typeof x === "object" && !Array.isArray(x) && !(x instanceof Q);
export function member(node, key) {
  need(isObject(node), `expected an object with ${key}`);
  need(Object.hasOwn(node, key), `${key} is missing`);
  return node[key];
}
export const has = (node, key) => Object.hasOwn(node, key);
export function listing(node) {
  need(Array.isArray(node), "expected a list");
  return node;
}
export function integer(x, low, high) {
  need(typeof x === "number" && Number.isInteger(x) && x >= low && x <= high, `expected an integer from ${low} to ${high}`);
  return x;
}
export function sizes(node, n = null, most = Number.MAX_SAFE_INTEGER) {
  need(n === null || listing(node).length === n, `expected ${n} integers`);
  return listing(node).map((x) => integer(x, 0, most));
}
export function indices(node, allowed) {
  const found = listing(node);
  need(found.every((j) => typeof j === "number" && allowed.has(j)), "an index has no place here");
  need(new Set(found).size === found.length, "an index occurs twice");
  return found;
}
export function expectSchema(tree, schema) {
  need(isObject(tree) && tree.schema === schema && (tree.version === 1 || tree.version === 2), `this is not version 1 or 2 of ${schema}`);
  return tree.version;
}

// A RAT, or an integer, or what an array of a file holds.
export function real(x) {
  if (x instanceof Q) return x;
  if (typeof x === "number") { need(Number.isSafeInteger(x), "a number is no integer"); return int(x); }
  return parse(x);
}
export function nonNegative(x) {
  const found = real(x);
  need(found.sign() >= 0, "a number is negative");
  return found;
}

export function array(node, ...shape) {
  const found = sizes(member(node, "shape")), data = listing(member(node, "data"));
  need(found.length === shape.length && shape.every((n, i) => n === null || n === found[i]), "an array has the wrong shape");
  need(data.length === found.reduce((a, b) => a * b, 1), "an array has the wrong length");
  work.left += PER_ENTRY * data.length;
  return data.map(real);
}
export function whole(node, n, below) {
  return array(node, n).map((x) => {
    need(x.d === 1n && x.n >= 0n && x.n < BigInt(below), `expected integers from 0 to ${below - 1}`);
    return Number(x.n);
  });
}

// A VEC as a map from index to number; `order` are the entries meant when no indices are given.
export function vec(parts, order) {
  const found = new Map(), allowed = new Set(order);
  for (const part of listing(parts)) {
    const [bottom, unit] = ratio(member(part, "den")), nums = listing(member(part, "nums"));
    need(unit === 1n && bottom > 0n, "a denominator is no positive integer");
    const list = has(part, "indices") ? indices(part.indices, allowed) : order;
    need(list.length === nums.length, "a vector has not as many numbers as indices");
    list.forEach((j, i) => {
      const [top, one] = ratio(nums[i]);
      need(one === 1n, "a numerator is no integer");
      need(!found.has(j), "an index occurs twice");
      found.set(j, new Q(top, bottom));
    });
  }
  return found;
}
export const range = (n) => Array.from({ length: n }, (_, i) => i);
export const dense = (parts, n) => {
  const found = vec(parts, range(n));
  return range(n).map((i) => found.get(i) ?? ZERO);
};

// ---------------------------------------------------------------- the problem

export class Problem {
  constructor(tree) {
    this.version = expectSchema(tree, "exact-unlearn/problem");
    this.start = array(member(tree, "theta_star"), null);
    this.rhs = array(member(tree, "rhs"), null);
    this.d = this.start.length;
    this.lam = this.mu = ZERO;
    this.rho = this.box = null;
    for (const term of listing(member(tree, "drift_penalty"))) {
      const name = member(term, "name");
      if (name === "squared_drift") this.lam = this.lam.plus(nonNegative(member(term, "lam")));
      else if (name === "l1_drift") this.mu = this.mu.plus(nonNegative(member(term, "lam")));
      else {
        need(name === "trust_region" && (member(term, "norm") === "2" || term.norm === "inf"), "unknown drift penalty");
        const radius = nonNegative(member(term, "radius")), key = term.norm === "2" ? "rho" : "box";
        this[key] = this[key] === null ? radius : least([this[key], radius]);
      }
    }
    need(this.version === 2 || !has(tree, "at_least"), "version 1 has no rows that read >=");
    const flags = has(tree, "at_least") ? whole(tree.at_least, this.rhs.length, 2) : [];
    this.atLeast = this.rhs.map((_, i) => flags[i] === 1);
    const mask = whole(member(tree, "free"), this.d, 2);
    const stuck = (this.rho && this.rho.n === 0n) || (this.box && this.box.n === 0n);
    this.free = mask.flatMap((flag, j) => (flag && !stuck ? [j] : []));
    this.isFree = new Set(this.free);
    this.rows = this.jacobian(member(tree, "jacobian"));
    this.R = this.regularizer(member(tree, "regularizer"), mask);
    need(this.version === 2 || !has(tree, "origin"), "version 1 has no origins");
    this.origin = has(tree, "origin") ? readOrigin(tree.origin) : null;
  }

  // Rows of J over all coordinates; only the free ones are ever used.
  jacobian(spec) {
    const k = this.rhs.length, { d } = this, kind = member(spec, "kind");
    if (kind === "dense") {
      const flat = array(member(spec, "matrix"), k, d);
      return range(k).map((i) => flat.slice(i * d, (i + 1) * d));
    }
    need(kind === "product", "unknown kind of jacobian");
    const [h, l] = sizes(member(member(spec, "V"), "shape"), 2), [n, m] = sizes(member(member(spec, "X"), "shape"), 2);
    const V = array(spec.V, h, l), X = array(spec.X, n, m), [start, stop] = sizes(member(spec, "block"), 2, d);
    need(member(spec, "n_parameters") === d && k === n * l && stop - start === h * m, "the product does not fit");
    this.product = { V, X, h, l, n, m, start };
    work.spend(40 * k * d);
    return range(k).map((i) => {
      const row = Array(d).fill(ZERO);
      for (let a = 0; a < h; a++) for (let c = 0; c < m; c++) row[start + a * m + c] = V[a * l + (i % l)].times(X[Math.floor(i / l) * m + c]);
      return row;
    });
  }

  regularizer(spec, mask) {
    if (this.version === 2 && member(spec, "name") === "form") return readForm(spec, this.d);
    const { d } = this, name = member(spec, "name"), zeros = Array(d).fill(ZERO), ones = Array(d).fill(ONE);
    const plain = { name, alpha: zeros, beta: zeros };
    const weights = (n, otherwise) => {
      if (spec.weights === undefined || spec.weights === null) return otherwise;
      const found = array(spec.weights, n);
      need(found.every((w) => w.sign() >= 0), "a weight is negative");
      return found;
    };
    if (name === "squared_l2") return { ...plain, separable: true, beta: weights(d, ones) };
    if (name === "l1") return { ...plain, separable: true, alpha: weights(d, ones) };
    if (name === "elastic_net") {
      const alpha = nonNegative(member(spec, "alpha")), beta = nonNegative(member(spec, "beta"));
      return { ...plain, separable: true, alpha: zeros.map(() => alpha), beta: zeros.map(() => beta) };
    }
    if (name === "l2" || name === "linf") {
      const w = weights(d, ones);
      return { ...plain, w, seen: w.map((x) => x.n !== 0n) };
    }
    if (name === "group_l2") {
      const labels = whole(member(spec, "labels"), d, d), G = labels.reduce((a, b) => Math.max(a, b + 1), 0);
      const w = weights(G, Array(G).fill(ONE)), groups = range(G).map(() => []);
      labels.forEach((g, j) => groups[g].push(j));
      return { ...plain, labels, groups, w, seen: labels.map((g) => w[g].n !== 0n) };
    }
    if (name === "predictor_norm") {
      const [h, l] = sizes(member(member(spec, "V"), "shape"), 2), [p, m] = sizes(member(spec, "shape"), 2);
      const [start, stop] = sizes(member(spec, "block"), 2, d);
      need(p === h && stop - start === h * m, "the block of the predictor norm does not fit");
      return { ...plain, V: array(spec.V, h, l), h, m, l, start, seen: zeros.map(() => false) };
    }
    if (name === "nuclear_norm") {
      const [p, q] = sizes(member(spec, "shape"), 2), list = whole(member(spec, "indices"), p * q, d), inside = new Set(list);
      need(inside.size === list.length, "an entry of the matrix occurs twice");
      return { ...plain, p, q, indices: list, seen: zeros.map((_, j) => inside.has(j)) };
    }
    if (name === "power_sum" && this.version === 2) {
      const still = this.lam.n === 0n && this.mu.n === 0n && this.rho === null && this.box === null && !this.atLeast.includes(true);
      need(still, "a sum of powers stands beside a drift penalty, or rows that read >=");
      return { ...plain, power: integer(member(spec, "depth"), 3, 64) };
    }
    need(name === "l0" || name === "active_neurons", "unknown regularizer");
    return { ...plain, count: true, charge: this.charges(spec, mask) };
  }

  charges(spec, mask) {
    const { d } = this;
    if (spec.name === "l0") return spec.labels === undefined || spec.labels === null ? range(d) : whole(spec.labels, d, d);
    const [m, h, l] = ["n_inputs", "width", "n_outputs"].map((key) => integer(member(spec, key), 0, d)), cut = l * h;
    need(d === h * (l + m) && mask.every((flag, j) => j < cut || !flag), "the regularizer does not fit, or more than C is free");
    const live = range(h).map((i) => this.start.slice(cut + i * m, cut + (i + 1) * m).some((x) => x.n !== 0n));
    return this.start.map((_, j) => (j < cut && live[j % h] ? j % h : -1));
  }

  // (J^T nu)_j on free coordinates, 0 elsewhere.
  pullback(nu) {
    const z = Array(this.d).fill(ZERO), rows = range(nu.length).filter((i) => nu[i].n !== 0n), own = rows.map((i) => nu[i]);
    for (const j of this.free) z[j] = dot(own, rows.map((i) => this.rows[i][j]));
    return z;
  }
}
