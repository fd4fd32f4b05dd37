// A network of 24 ReLU neurons on a line that has memorised three lies: affine in the weights c that move.

import { Q, ZERO, dot, int, parse } from "../checker/rational.mjs";
import { dense } from "../checker/problem.mjs";
import { hex, num, surrogate } from "../kit/numbers.mjs";

export const ASCENT = 60; // steps of gradient ascent, at most
const PUSH = 0.01, RATE = 1.1 / 6;
const REGULARIZERS = { l2: "squared_l2", l1: "l1", l0: "l0" };

// Everything about the network, from the numbers of the package.
export function network(numbers) {
  const exact = (list) => list.map(parse), float = (list) => exact(list).map(num);
  const bends = numbers.bends.map(([t, side]) => [parse(t), int(side)]), d = bends.length;
  // What the neurons give at s, in fractions and in floats.
  const row = (s) => bends.map(([t, side]) => { const v = side.times(s.minus(t)); return v.sign() > 0 ? v : ZERO; });
  const at = bends.map(([t]) => num(t)), sides = bends.map(([, side]) => num(side));
  const neurons = (s) => at.map((t, j) => Math.max(0, sides[j] * (s - t)));
  const truths = exact(numbers.x), rows = truths.map(row);
  const U = exact(numbers.u), V = numbers.v.map(exact), u = U.map(num), v = V.map((column) => column.map(num));
  const corners = [...new Set([-4, ...at, 4])].sort((a, b) => a - b); // where a curve may bend
  const net = {
    d, rows, at, corners,
    proofs: numbers.proofs,
    x: truths.map(num), y: float(numbers.y), lies: float(numbers.lies),
    curve: (c, s) => neurons(s).reduce((sum, value, j) => sum + value * c[j], 0),
    // Where gradient descent on all samples ends, theta*: affine in the heights of the lies.
    star: (heights) => u.map((value, j) => heights.reduce((sum, h, k) => sum + h * v[k][j], value)),
    exactStar: (heights) => U.map((value, j) => heights.reduce((sum, h, k) => sum.plus(h.times(V[k][j])), value)),
  };
  net.answers = Object.fromEntries(Object.entries(numbers.proofs).map(([name, proof]) => [name, answer(net, proof).map(num)]));
  return net;
}

// The point of a certificate, in fractions: listed, or J^T nu.
export function answer({ rows, d }, { primal, dual }) {
  if (primal.base !== "dual") return dense(primal.parts, d);
  const nu = dense(dual.nu, rows.length);
  return Array.from({ length: d }, (_, j) => dot(rows.map((r) => r[j]), nu));
}

// Gradient ascent on the lies, after a push by a hundredth.
export function ascend(net, heights, steps) {
  const rows = net.lies.map((s) => Array.from({ length: net.d }, (_, j) => net.curve(unit(net.d, j), s)));
  const rate = RATE / Math.max(...rows.map((r) => r.reduce((sum, v) => sum + v * v, 0)));
  let c = net.star(heights).map((value, j) => value + PUSH * (j % 2 ? 1 : -1));
  for (let k = 0; k < steps; k++) {
    const errors = rows.map((r, i) => r.reduce((sum, v, j) => sum + v * c[j], 0) - heights[i]);
    c = c.map((value, j) => value + rate * rows.reduce((sum, r, i) => sum + errors[i] * r[j], 0));
  }
  return c;
}
const unit = (d, j) => Array.from({ length: d }, (_, i) => (i === j ? 1 : 0));

// How much of theta* a drift penalty lam keeps.
export const share = (lam) => lam / (1 + lam);

// The weights of a method, a part of the way from theta* (0) to where it ends (1).
export function weights(net, method, heights, way, lam) {
  const from = net.star(heights);
  if (method === "star" || method === "gd") return from; // no gradient: no step
  if (method === "ga") return ascend(net, heights, Math.round(way * ASCENT));
  const kept = method === "l2" ? share(lam) : 0;
  return from.map((value, j) => value + way * (1 - kept) * (net.answers[method][j] - value));
}

// How far the curve at the first lie follows when that lie moves by 1. Everything here is affine, so a difference is exact.
export function influence(net, method, heights, way, lam) {
  const moved = [heights[0] + 1, ...heights.slice(1)], at = (h) => net.curve(weights(net, method, h, way, lam), net.lies[0]);
  return Math.abs(at(moved) - at(heights));
}

// lam is a fraction here.
export function problemOf(net, heights, method, lam) {
  const drift = lam.n === 0n ? [] : [{ name: "squared_drift", lam: hex(lam) }];
  return surrogate(net.exactStar(heights), net.rows, { name: REGULARIZERS[method], ...(method === "l0" ? {} : { weights: null }) }, drift);
}

// The multipliers depend neither on the lies nor on lam: with a drift penalty only what is claimed changes.
export function certificateOf(net, method, lam) {
  const proof = net.proofs[method];
  return lam.n === 0n ? proof : { ...proof, claims: { proof: "exact", gap: "0", unique: true } };
}

// A reader's guess of the fewest neurons, as a claim about the same point.
export function guessOf(net, fewest) {
  return { ...net.proofs.l0, claims: { proof: "exact", lower: hex(int(fewest)), upper: hex(int(fewest)) } };
}

// lam in twentieths of the way from 0 to infinity: lam / (1 + lam) = leak / 20.
export const penalty = (leak) => (leak === 0 ? ZERO : new Q(BigInt(leak), BigInt(20 - leak)));
