// Two weights in a row, output a c: the smallest curved model, its linearisation, and short steps, in fractions.

import { ONE, Q, dot } from "../checker/rational.mjs";
import { bounds, hex, surrogate } from "../kit/numbers.mjs";

export const STEPS = 12;
const FINE = 1n << 24n; // each step starts from the last one, rounded to this grid, so that fractions stay short

export const output = ([a, c]) => a.times(c);
export const gradient = ([a, c]) => [c, a];
export const onCurve = (a) => [a, ONE.over(a)];
const minusAll = (u, v) => u.map((x, j) => x.minus(v[j]));

// The smallest theta, 1/2 |theta|^2 + lam/2 |theta - from|^2, with J (theta - from) = 1 - output(from): the error of the
// place where it starts is asked back.
export function stepFrom(from, lam) {
  const J = gradient(from), b = ONE.minus(output(from)), kept = lam.over(ONE.plus(lam)), aim = b.plus(dot(J, from));
  const pull = aim.minus(kept.times(dot(J, from))).over(dot(J, J));
  return { from, lam, J, b, theta: from.map((x, j) => kept.times(x).plus(pull.times(J[j]))), nu: ONE.plus(lam).times(pull) };
}

// A part of the long way: the answer with the drift penalty that stops there. part: a fraction above 0, at most 1.
export const longStep = (star, part) => stepFrom(star, ONE.minus(part).over(part));

export function shortSteps(star, lam, count) {
  const steps = [];
  for (let from = star; steps.length < count; from = steps.at(-1).theta.map(rounded)) steps.push(stepFrom(from, lam));
  return steps;
}
const rounded = (x) => new Q((x.n * FINE * 2n + x.d) / (x.d * 2n) - (x.n < 0n ? 1n : 0n), FINE);

export const errorOf = (theta) => output(theta).minus(ONE);
export const away = (theta, star) => minusAll(theta, star);

export function problemOf({ from, lam, J, b }) {
  const drift = lam.n === 0n ? [] : [{ name: "squared_drift", lam: hex(lam) }];
  return surrogate(from, [J], { name: "squared_l2", weights: null }, drift, [b]);
}
export const certificateOf = ({ theta, nu }) => bounds(theta, [nu], { proof: "exact", gap: "0", unique: true });
