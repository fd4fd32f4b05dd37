// The line a + b x with one sample to keep: its smallest weights in closed form, and what proves them.

import { ONE, ZERO } from "../checker/rational.mjs";
import { bounds, surrogate } from "../kit/numbers.mjs";

export const NORMS = { l2: "ℓ2", l1: "ℓ1", linf: "ℓ∞" };
const DUAL = { l2: "l2", l1: "linf", linf: "l1" };

export function length(v, norm) {
  const [a, b] = v.map(Math.abs);
  return norm === "l2" ? Math.hypot(a, b) : norm === "l1" ? a + b : Math.max(a, b);
}
export const dualLength = (v, norm) => length(v, DUAL[norm]);

// The smallest (a, b) with a + b x = y, the multiplier that proves it, and the square of its size, all as fractions.
export function solve(x, y, norm) {
  const one = y.sign() < 0 ? ONE.negated() : ONE, steep = x.abs();
  if (norm === "l2") {
    const a = y.over(ONE.plus(x.squared()));
    return { theta: [a, a.times(x)], nu: one, size2: y.times(a), unique: true };
  }
  if (norm === "l1") { // a corner: all in the weight with the larger coefficient
    const steeper = steep.above(ONE), nu = one.over(steeper ? steep : ONE), theta = steeper ? [ZERO, y.over(x)] : [y, ZERO];
    return { theta, nu, size2: y.times(nu).squared(), unique: !steep.equals(ONE) || y.n === 0n };
  }
  const nu = one.over(ONE.plus(steep)), size = y.times(nu), a = size.times(one); // both equally large
  const b = x.n === 0n ? ZERO : x.sign() < 0 ? a.negated() : a;
  return { theta: [a, b], nu, size2: size.squared(), unique: x.n !== 0n || y.n === 0n };
}

export const problemOf = (x, star, norm) => surrogate(star, [[ONE, x]], { name: norm, weights: null });
export const certificateOf = (theta, nu, claims) => bounds(theta, [nu], claims);

// The weights of the line through two samples.
export function through([x1, y1], [x2, y2]) {
  const b = y2.minus(y1).over(x2.minus(x1));
  return [y1.minus(b.times(x1)), b];
}

export const PUSH = 0.05;
const STEPS = 80, RATE = 0.12, FAR = 9;

// Where a gradient method goes, in floats: descent on keep from theta* (gd) or from 0 (gd0), ascent on forget (ga).
export function walk(kind, star, keep, forget) {
  const up = kind === "ga", [x, y] = up ? forget : keep, norm = 1 + x * x, out = [], push = PUSH / Math.sqrt(norm);
  let at = { gd: star, gd0: [0, 0], ga: [star[0] + push, star[1] + push * x] }[kind];
  for (let k = 0; k <= STEPS && Math.hypot(...at) < FAR; k++) {
    out.push(at);
    const by = (up ? RATE : -RATE) * (at[0] + at[1] * x - y) / norm;
    at = [at[0] + by, at[1] + by * x];
  }
  return out;
}
