// Numbers for people, and for the files that the checker reads. Everything that is proved is a fraction; what is drawn
// is a float.

import { Q } from "../checker/rational.mjs";

export const q = (n, d = 1) => new Q(BigInt(n), BigInt(d));
export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

// The nearest double of a fraction, also where its parts are too long for one.
export function num(x) {
  const size = (n) => n.toString(2).length, cut = BigInt(Math.max(0, Math.max(size(x.n), size(x.d)) - 900));
  return Number(x.n >> cut) / Number(x.d >> cut);
}

// ---------------------------------------------------------------- for people

export const minus = (text) => text.replace("-", "−");

export function fmt(x, digits = 2) {
  return minus((Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits));
}
export const fraction = (x) => minus(x.d === 1n ? `${x.n}` : `${x.n}/${x.d}`);
export const short = (x) => (fraction(x).length <= 9 ? fraction(x) : `≈ ${fmt(num(x), 3)}`);
export const percent = (x, digits = 0) => `${fmt(100 * x, digits)} %`;

// ---------------------------------------------------------------- for the checker

export const hex = (x) => x.n.toString(16) + (x.d === 1n ? "" : `/${x.d.toString(16)}`);
export const array = (list, ...shape) => ({ shape, data: list.map(hex) });

// A vector of a certificate: integers over one denominator.
export function vector(list) {
  const den = list.reduce((all, x) => all * x.d, 1n);
  return [{ nums: list.map((x) => (x.n * (den / x.d)).toString(16)), den: den.toString(16) }];
}

// The surrogate problem, min R(theta* + D) + drift penalty subject to J D = b (0), every weight free to move.
export function surrogate(star, rows, regularizer, driftPenalty = [], b = rows.map(() => q(0))) {
  const one = q(1), d = star.length, k = rows.length;
  return {
    schema: "exact-unlearn/problem",
    version: 1,
    theta_star: array(star, d),
    jacobian: { kind: "dense", matrix: array(rows.flat(), k, d) },
    rhs: array(b, k),
    free: array(star.map(() => one), d),
    regularizer,
    drift_penalty: driftPenalty,
  };
}

// A point, multipliers, and what is claimed of them.
export function bounds(theta, nu, claims) {
  return {
    schema: "exact-unlearn/certificate",
    version: 1,
    kind: "bounds",
    primal: { base: "zero", parts: vector(theta) },
    dual: { nu: vector(nu) },
    claims,
  };
}
