// Forms: regularizers of version 2, sums of TERMs (docs/certificate_format.md, sections 2 and 5.5).

import { HALF, ONE, ZERO, dot, isPsd, largest, least, need, roots, sum, work } from "./rational.mjs";
import { array, dense, has, integer, listing, member, nonNegative, range, sizes, vec, whole } from "./problem.mjs";

const KINDS = ["square", "kink", "huber", "max", "norms", "spectral"];
const length = (x) => roots(dot(x, x))[1];
const over = (x, w) => (w.n === 0n ? ZERO : x.over(w)); // what f does not see has no share

export function readForm(spec, d) {
  const parts = listing(member(spec, "terms")).map((term) => readTerm(term, d));
  const bends = range(d).map(() => []), seen = Array(d).fill(false), others = [];
  for (const part of parts) {
    if (!part.rows) part.w.forEach((w, j) => { seen[j] ||= w.n !== 0n; });
    if (part.rows || !["square", "kink", "huber"].includes(part.kind)) { others.push(part); continue; }
    part.w.forEach((w, j) => { if (w.n !== 0n) bends[j].push({ kind: part.kind, w, c: part.c[j], delta: part.delta }); });
  }
  const beta = bends.map((own) => sum(own.filter((b) => b.kind === "square").map((b) => b.w)));
  return { name: "form", form: true, alpha: Array(d).fill(ZERO), beta, bends, parts: others, seen };
}

function readTerm(term, d) {
  const kind = member(term, "term");
  need(KINDS.includes(kind), "unknown term");
  const rows = has(term, "map") ? readMap(term.map, d) : null, m = rows ? rows.length : d;
  const c = has(term, "centre") ? array(term.centre, m) : Array(m).fill(ZERO);
  const factor = has(term, "factor") ? nonNegative(term.factor) : ONE;
  need(factor.n !== 0n, "a factor is not positive");
  const weights = (key, n) => {
    if (term[key] === undefined || term[key] === null) return Array(n).fill(ONE);
    const found = array(term[key], n);
    need(found.every((w) => w.sign() >= 0), "a weight is negative");
    return found;
  };
  const part = { kind, rows, m, c, factor, delta: null, groups: [range(m)] };
  if (kind === "spectral") {
    const [p, q] = sizes(member(term, "shape"), 2), list = whole(member(term, "indices"), p * q, m), inside = new Set(list);
    need(inside.size === list.length, "an entry of the matrix occurs twice");
    return { ...part, p, q, indices: list, w: c.map((_, j) => (inside.has(j) ? ONE : ZERO)) };
  }
  if (kind === "norms") {
    const named = term.labels !== undefined && term.labels !== null, none = (key) => term[key] === undefined || term[key] === null;
    need(none(named ? "inner" : "weights"), "norms have either labels and weights, or inner weights");
    if (!named) return { ...part, w: weights("inner", m).map((q) => q.times(factor.squared())) };
    const labels = whole(term.labels, m, m), G = labels.reduce((a, b) => Math.max(a, b + 1), 0), w = weights("weights", G);
    const groups = range(G).map(() => []);
    labels.forEach((g, j) => groups[g].push(j));
    return { ...part, groups, w: labels.map((g) => w[g].times(factor).squared()) };
  }
  if (kind === "huber") {
    part.delta = nonNegative(member(term, "delta"));
    need(part.delta.n !== 0n, "delta is not positive");
  }
  return { ...part, w: weights("weights", m).map((w) => w.times(factor)) };
}

function readMap(spec, d) {
  integer(member(spec, "columns"), d, d);
  const m = integer(member(spec, "rows"), 0, 1 << 24), values = array(member(spec, "value"), null), n = values.length;
  work.spend(3000 * (m + n));
  const row = whole(member(spec, "row"), n, m), column = whole(member(spec, "column"), n, d);
  need(new Set(row.map((i, at) => i * d + column[at])).size === n, "an entry of a map occurs twice");
  const rows = range(m).map(() => []);
  row.forEach((i, at) => rows[i].push([column[at], values[at]]));
  return rows;
}

// ---------------------------------------------------------------- one coordinate

// The slope of one bend on the side s of x.
export function bendSlope({ kind, w, c, delta }, x, s) {
  const u = x.minus(c);
  if (kind === "kink") return (u.sign() || s) > 0 ? w : w.negated();
  if (kind === "square" || u.abs().atMost(delta)) return w.times(u);
  return w.times(u.sign() > 0 ? delta : delta.negated());
}
export function bendValue({ kind, w, c, delta }, x) {
  const size = x.minus(c).abs();
  if (kind === "kink") return w.times(size);
  const near = delta === null || size.atMost(delta) ? size : delta;
  return w.times(near).times(size.minus(HALF.times(near)));
}
export const bendBreaks = ({ kind, c, delta }) => (kind === "kink" ? [c] : kind === "huber" ? [c.minus(delta), c.plus(delta)] : []);
// Its curvature at a place that is no break.
export const bendCurve = ({ kind, w, c, delta }, x) =>
  (kind === "square" || (kind === "huber" && delta.above(x.minus(c).abs())) ? w : ZERO);

// ---------------------------------------------------------------- parts

const image = (part, theta) => (part.rows ? part.rows.map((row) => sum(row.map(([j, v]) => v.times(theta[j])))) : theta);
export const at = (part, theta) => image(part, theta).map((v, i) => v.minus(part.c[i]));
function pull(part, g, d) {
  if (!part.rows) return g;
  const out = Array(d).fill(ZERO);
  part.rows.forEach((row, i) => { for (const [j, v] of row) out[j] = out[j].plus(v.times(g[i])); });
  return out;
}

// [factor f(x) from below, from above]
export function partValue(part, x, factors) {
  const { kind, w } = part;
  if (kind === "spectral") return [ZERO, part.factor.times(nuclearAbove(part, x, factors))];
  if (kind === "norms") {
    const each = part.groups.map((g) => roots(sum(g.map((j) => w[j].times(x[j].squared())))));
    return [sum(each.map((v) => v[0])), sum(each.map((v) => v[1]))];
  }
  const own = x.map((v, i) => (kind === "max" ? w[i].times(v.abs()) : bendValue({ kind, w: w[i], c: ZERO, delta: part.delta }, v)));
  const v = kind === "max" ? largest(own) : sum(own);
  return [v, v];
}

export function nuclearAbove({ p, q, indices }, x, factors = []) {
  const E = indices.map((j) => x[j]), terms = [];
  for (const factor of listing(factors)) {
    const u = dense(member(factor, "u"), p), v = dense(member(factor, "v"), q);
    for (let i = 0; i < p; i++) for (let c = 0; c < q; c++) E[i * q + c] = E[i * q + c].minus(u[i].times(v[c]));
    terms.push(length(u).times(length(v)));
  }
  for (let c = 0; c < q; c++) terms.push(length(range(p).map((i) => E[i * q + c])));
  return sum(terms);
}

// The least t with g/t in the domain of the conjugate, from above; 0 where there is no limit.
function polar(part, g) {
  const { kind, w } = part;
  if (kind === "square") return ZERO;
  if (kind === "spectral") {
    const { p, q, factor } = part, G = part.indices.map((j) => g[j].over(factor)), n = Math.min(p, q);
    const A = p < q ? range(n).map((i) => G.slice(i * q, (i + 1) * q)) : range(n).map((c) => range(p).map((i) => G[i * q + c]));
    return isPsd(range(n).map((a) => range(n).map((b) => (a === b ? ONE : ZERO).minus(dot(A[a], A[b]))))) ? ONE : length(G);
  }
  if (kind === "norms") return largest(part.groups.map((list) => roots(sum(list.map((j) => over(g[j].squared(), w[j]))))[1]));
  const ratios = g.map((v, i) => over(v.abs(), w[i]));
  if (kind === "max") return sum(ratios);
  return kind === "huber" ? largest(ratios).over(part.delta) : largest(ratios);
}
const conjugate = ({ kind, w }, g) => (kind === "square" || kind === "huber" ? HALF.times(sum(g.map((v, i) => over(v.squared(), w[i])))) : ZERO);

// ---------------------------------------------------------------- section 5.5

// The slack of a proof about a form, and what it sets: proof.sigma, and the pins of its coordinates.
export function summed(proof) {
  const { P, z, theta, dual } = proof, { R } = P, { parts } = R, points = parts.map((part) => at(part, theta));
  const listed = has(dual, "shares") ? listing(dual.shares) : [];
  need(listed.length === 0 || listed.length === parts.length, "expected one share for every part of the regularizer");
  const factors = has(proof.spec.primal, "factors") ? listing(proof.spec.primal.factors) : [];
  const given = parts.map((part, k) => vec(listed.length ? listed[k] : [], range(part.m)));
  const gs = parts.map((part, k) => range(part.m).map((i) => (part.w[i].n === 0n ? ZERO : given[k].get(i) ?? ZERO)));
  const pulls = parts.map((part, k) => pull(part, gs[k], P.d)), first = parts.findIndex((part) => !part.rows);
  if (first >= 0) {
    for (const j of P.free) {
      if (parts[first].w[j].n === 0n || given[first].has(j)) continue;
      const others = sum(pulls.filter((_, k) => k !== first).map((v) => v[j]));
      const x = theta[j], D = proof.D[j], side = (s) => sum(R.bends[j].map((bend) => bendSlope(bend, x, s)));
      const slope = HALF.times(side(-1).plus(side(1))).plus(proof.Lambda.times(D)).plus(P.mu.times(D.sign() > 0 ? ONE : D.sign() < 0 ? ONE.negated() : ZERO));
      gs[first][j] = z[j].minus(others).minus(slope);
    }
    pulls[first] = gs[first];
  }
  const curved = (j) => P.box !== null || R.beta[j].plus(proof.Lambda).sign() > 0;
  let scales = parts.map((part, k) => { const t = polar(part, gs[k]); return t.above(ONE) ? ONE.over(t) : ONE; });
  if (!P.free.every(curved)) {
    const limits = [ONE, ...scales];
    for (const j of P.free.filter((j) => !curved(j))) {
      const rest = z[j].minus(sum(pulls.map((v) => v[j]))).abs();
      const reach = P.mu.plus(sum(R.bends[j].map((b) => (b.kind === "huber" ? b.w.times(b.delta) : b.w))));
      if (rest.above(reach)) limits.push(reach.over(rest));
    }
    proof.sigma = least(limits);
    scales = scales.map(() => proof.sigma);
  }
  const h = (j) => proof.sigma.times(z[j]).minus(sum(pulls.map((v, k) => scales[k].times(v[j]))));
  let slack = proof.slacks((j) => proof.f(j, ZERO, ZERO), h).plus(proof.sigma.times(proof.idle)), matrix = 0;
  parts.forEach((part, k) => {
    const above = partValue(part, points[k], part.kind === "spectral" && matrix < factors.length ? factors[matrix++] : [])[1];
    const g = gs[k].map((v) => scales[k].times(v));
    slack = slack.plus(above).plus(conjugate(part, g)).minus(dot(g, points[k]));
  });
  return slack;
}

// [R(theta) from below, from above]
export function formValue(R, theta, factors = []) {
  const own = sum(theta.map((x, j) => sum(R.bends[j].map((bend) => bendValue(bend, x)))));
  let matrix = 0;
  const each = R.parts.map((part) =>
    partValue(part, at(part, theta), part.kind === "spectral" && matrix < factors.length ? factors[matrix++] : []));
  return [0, 1].map((side) => own.plus(sum(each.map((v) => v[side]))));
}
