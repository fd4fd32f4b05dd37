// The parabola a + b x + c x^2 with two samples to keep: the smallest point of a line in space, and multipliers that
// prove it.

import { ONE, Q, dot, fromFloat, largest, roots, sum } from "../checker/rational.mjs";
import { bounds, num, surrogate } from "../kit/numbers.mjs";

export const NORMS = { l2: "ℓ2", l1: "ℓ1", linf: "ℓ∞", group: "group" };
const REGULARIZERS = {
  l2: { name: "l2", weights: null },
  l1: { name: "l1", weights: null },
  linf: { name: "linf", weights: null },
  group: { name: "group_l2", labels: { shape: [3], data: ["0", "1", "1"] }, weights: null },
};
const AXES = [0, 1, 2], CLOSE = 1e-12;

// ---------------------------------------------------------------- sizes, in floats

export function extent([a, b, c], norm) {
  if (norm === "l2") return Math.hypot(a, b, c);
  if (norm === "l1") return Math.abs(a) + Math.abs(b) + Math.abs(c);
  if (norm === "linf") return Math.max(Math.abs(a), Math.abs(b), Math.abs(c));
  return Math.abs(a) + Math.hypot(b, c); // {b, c} is one group
}
export function polar(g, norm) {
  if (norm === "group") return Math.max(Math.abs(g[0]), Math.hypot(g[1], g[2]));
  return extent(g, { l2: "l2", l1: "linf", linf: "l1" }[norm]);
}

// ---------------------------------------------------------------- the line, in fractions

export const row = (x) => [ONE, x, x.squared()];
export const along = (start, n, t) => start.map((s, j) => s.plus(t.times(n[j])));

// Of the three samples, of which the first two are kept: their rows, theta* through all three, and the direction of the
// line of perfect models, of length about 1.
export function scene(x, y) {
  const rows = [row(x[0]), row(x[1])], [u, v] = rows;
  const minor = (i, j) => u[i].times(v[j]).minus(u[j].times(v[i])), raw = [minor(1, 2), minor(2, 0), minor(0, 1)];
  const length = new Q(BigInt(Math.max(1, Math.round(8 * Math.hypot(...raw.map(num))))), 8n);
  const lagrange = AXES.map((i) => {
    const [p, r] = AXES.filter((j) => j !== i).map((j) => x[j]), w = y[i].over(x[i].minus(p).times(x[i].minus(r)));
    return [w.times(p).times(r), w.times(p.plus(r)).negated(), w];
  });
  return { rows, n: raw.map((w) => w.over(length)), star: AXES.map((j) => sum(lagrange.map((part) => part[j]))) };
}

// The t of the smallest point start + t n: exact where it is rational, to 400 bits for groups.
export function best(start, n, norm) {
  const zero = (i) => start[i].over(n[i]).negated(), moving = AXES.filter((i) => n[i].n !== 0n);
  if (norm === "l2") return dot(start, n).over(dot(n, n)).negated();
  if (norm === "group") return bestOfGroups(start, n);
  const at = moving.map(zero);
  if (norm === "linf") { // where two weights are equally large
    for (const [i, j] of [[0, 1], [0, 2], [1, 2]]) {
      for (const sign of [ONE, ONE.negated()]) {
        const slope = n[i].minus(sign.times(n[j]));
        if (slope.n !== 0n) at.push(sign.times(start[j]).minus(start[i]).over(slope));
      }
    }
  }
  const exactSize = (t) => {
    const sizes = along(start, n, t).map((v) => v.abs());
    return norm === "l1" ? sum(sizes) : largest(sizes);
  };
  return at.reduce((low, t) => (exactSize(t).compare(exactSize(low)) < 0 ? t : low));
}

// |a| + |(b, c)|: at the kink a = 0, at b = c = 0, or where its two slopes are opposite, a root of a quadratic.
function bestOfGroups(start, n) {
  const s = start.slice(1), m = n.slice(1), A = dot(m, m), B = dot(s, m), C = dot(s, s), slope = n[0].squared(), at = [];
  if (n[0].n !== 0n) at.push(start[0].over(n[0]).negated());
  if (A.n !== 0n) at.push(B.over(A).negated());
  if (A.above(slope)) {
    const root = roots(A.times(C).minus(B.squared()).times(slope).over(A.minus(slope)))[0];
    at.push(...[root, root.negated()].map((r) => r.minus(B).over(A)));
  }
  const size = (t) => extent(along(start, n, t).map(num), "group");
  return at.reduce((low, t) => (size(t) < size(low) - CLOSE ? t : low));
}

// ---------------------------------------------------------------- multipliers

// The farthest point of the polar shape in the direction y, in floats: what remains where fractions have no formula.
export function farthest(rows, y, norm) {
  const at = (angle) => {
    const u = [Math.cos(angle), Math.sin(angle)], length = polar(AXES.map((j) => u[0] * rows[0][j] + u[1] * rows[1][j]), norm);
    return { gain: (u[0] * y[0] + u[1] * y[1]) / length, nu: u.map((v) => v / length) };
  };
  const COARSE = 720, GOLDEN = 0.382, unit = 2 * Math.PI / COARSE;
  let top = 0;
  for (let k = 1; k < COARSE; k++) if (at(k * unit).gain > at(top * unit).gain) top = k;
  let [low, high] = [(top - 1) * unit, (top + 1) * unit];
  for (let k = 0; k < 90; k++) {
    const a = low + (high - low) * GOLDEN, b = high - (high - low) * GOLDEN;
    if (at(a).gain >= at(b).gain) high = b;
    else low = a;
  }
  return at((low + high) / 2).nu;
}

// The multipliers of the smallest point theta, from its optimality conditions; null where these leave them open.
export function multipliers([u, v], y, theta, norm) {
  const det = (i, j) => u[i].times(v[j]).minus(u[j].times(v[i])), sign = (x) => new Q(BigInt(x.sign()));
  const solve = (i, j, p, r) => (det(i, j).n === 0n ? null // (J^T nu)_i = p, (J^T nu)_j = r
    : [p.times(v[j]).minus(r.times(v[i])).over(det(i, j)), r.times(u[i]).minus(p.times(u[j])).over(det(i, j))]);
  if (norm === "l2") { // up to a positive factor, which is all that counts
    const [uu, uv, vv] = [dot(u, u), dot(u, v), dot(v, v)];
    return [vv.times(y[0]).minus(uv.times(y[1])), uu.times(y[1]).minus(uv.times(y[0]))];
  }
  if (norm === "group") {
    const length = roots(sum(theta.slice(1).map((x) => x.squared())))[0];
    if (length.n === 0n) return null;
    const [b, c] = theta.slice(1).map((x) => x.over(length));
    return theta[0].n === 0n || Math.abs(num(theta[0])) < CLOSE ? solve(1, 2, b, c) : solve(0, 1, sign(theta[0]), b);
  }
  const most = largest(theta.map((x) => x.abs()));
  const slack = AXES.filter((j) => (norm === "l1" ? theta[j].n === 0n : theta[j].abs().compare(most) < 0));
  if (slack.length !== 1) return null;
  const [i, j] = AXES.filter((m) => m !== slack[0]);
  if (norm === "l1") return solve(i, j, sign(theta[i]), sign(theta[j]));
  const nu = [v[slack[0]].negated(), u[slack[0]]]; // no weight on the one that is not largest
  return dot(nu, y).sign() < 0 ? nu.map((x) => x.negated()) : nu;
}

// Both players at their best: a point, multipliers, where these meet the rim of their shape, and what both prove.
export function play({ rows, n, star }, y, norm) {
  const theta = along(star, n, best(star, n, norm)), exact = multipliers(rows, y, theta, norm);
  const floats = rows.map((r) => r.map(num)), nu = exact ? exact.map(num) : farthest(floats, y.map(num), norm);
  const length = polar(AXES.map((j) => nu[0] * floats[0][j] + nu[1] * floats[1][j]), norm);
  const proof = exact === null ? "repaired" : norm === "group" ? "enclosure" : "exact";
  return { theta, nu: exact ?? nu.map(fromFloat), rim: nu.map((v) => v / length), claims: { proof } };
}

// What multipliers claim on their own: no perfect model is smaller than nu . y, by a hair, for the checker rounds.
const HAIR = new Q((1n << 100n) - 1n, 1n << 100n);
export const claimed = (nu, y) => dot(nu, y).times(HAIR);

export const problemOf = ({ rows, star }, norm) => surrogate(star, rows, REGULARIZERS[norm]);
export const certificateOf = (theta, nu, claims) => bounds(theta, nu, claims);
