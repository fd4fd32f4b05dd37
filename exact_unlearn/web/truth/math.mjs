// Networks of ReLU neurons on a line, f(x) = sum c max(0, a x + b): the certified answer of each state, and those who try
// to come near it, in floats.

import { Q, ZERO, dot, int, parse } from "../checker/rational.mjs";
import { readOrigin } from "../checker/origin.mjs";
import { array, num, vector } from "../kit/numbers.mjs";

export const RIVALS = { long: "one long step", short: "short steps", gd: "gradient descent", ga: "gradient ascent", anew: "training anew" };
export const FITS = 1e-6;
const DESCENT = { steps: 400, rate: 0.01, gentle: 0.002 }, NEWTON = 60, ASCENT = { push: 0.05, steps: 12, rate: 0.008 };
const SHORT = { first: [3, 8, 30], steps: 60, enough: 1e5, tries: 6, exact: 1e-12 }; // first: weights of the drift

// ---------------------------------------------------------------- the certified answer

// numbers: as the package writes them. heights: of the two truths that move and of the lie, as fractions.
export function scene(numbers) {
  const { places, lie, moved, fixed, states } = numbers, stays = places.map((_, i) => i).filter((i) => i !== lie);
  const x = stays.map((i) => [int(places[i]), int(1)]), side = Math.round(Math.sqrt(states.length));
  const origin = originOf({ x, numbers }, x.map(() => ZERO));
  const cells = readOrigin(origin).patterns(numbers.tree).filter((signs) => [...signs.values()].includes(1)); // others do nothing
  const label = (i, given) => (moved.includes(i) ? given[moved.indexOf(i)] : parse(fixed[i]));
  return {
    numbers, places, stays, x, cells, side,
    kept: (given) => stays.map((i) => label(i, given)),
    state: (first, second) => {
      const [nu, point] = states[first * side + second];
      return { nu: nu.map((v) => parse(v).over(int(2 ** numbers.bits))), point: point.map(([j, v]) => [j, parse(v)]) };
    },
  };
}

const originOf = ({ x, numbers }, y) => ({
  kind: "two_layer", activation: "relu", slope: "0", width: numbers.width, R: "squared",
  x: array(x.flat(), x.length, 2), y: array(y, y.length),
});

// The program of the exact problem: two blocks for each cell of signs, one for neurons that add and one that subtract.
export function problemOf(scene, labels) {
  const { x, cells } = scene, d = 4 * cells.length, k = x.length, blocks = 2 * cells.length;
  const rows = x.map((row, i) => cells.flatMap((signs) => {
    const own = signs.get(i) > 0 ? row : [ZERO, ZERO];
    return [...own, ...own.map((v) => v.negated())];
  }));
  for (let block = 0; block < blocks; block++) {
    for (let i = 0; i < k; i++) {
      const own = Array(d).fill(ZERO), s = cells[block >> 1].get(i);
      for (let c = 0; c < 2; c++) own[2 * block + c] = s > 0 ? x[i][c] : x[i][c].negated();
      rows.push(own);
    }
  }
  const all = rows.length, ones = (n) => Array(n).fill(int(1)), list = (n) => Array(n).fill(ZERO);
  return {
    schema: "exact-unlearn/problem", version: 2,
    theta_star: array(list(d), d),
    jacobian: { kind: "dense", matrix: array(rows.flat(), all, d) },
    rhs: array([...labels, ...list(all - k)], all),
    free: array(ones(d), d),
    at_least: array([...list(k), ...ones(all - k)], all),
    regularizer: { name: "group_l2", labels: array(list(d).map((_, j) => int(j >> 1)), d), weights: array(ones(blocks), blocks) },
    drift_penalty: [],
    origin: originOf(scene, labels),
  };
}

// A state holds the multipliers of the samples only. Those of the rows that keep a neuron in its cell follow: of each
// block the least vector g + (sum of alpha s x, alpha >= 0), which at most two samples make.
export function certificateOf(scene, { nu, point }) {
  const { x, cells, numbers } = scene, indices = point.map(([j]) => j), [primal] = vector(point.map(([, v]) => v));
  const multipliers = [...nu], grid = 2 ** numbers.bits;
  const dyadic = (v) => new Q(BigInt(Math.round(v * grid)), BigInt(grid));
  cells.forEach((signs) => {
    for (const way of [1, -1]) {
      const on = x.map((_, i) => i).filter((i) => signs.get(i) > 0);
      const g = [0, 1].map((c) => way * num(dot(on.map((i) => nu[i]), on.map((i) => x[i][c]))));
      multipliers.push(...nearest(g, x.map((row, i) => row.map((v) => signs.get(i) * num(v)))).map(dyadic));
    }
  });
  return {
    schema: "exact-unlearn/certificate", version: 2, kind: "bounds",
    primal: { base: "zero", parts: [{ indices, ...primal }] },
    dual: { nu: vector(multipliers) },
    claims: { proof: "repaired" },
    tree: numbers.tree,
  };
}

// alpha >= 0 with the least |g + sum alpha ray| in the plane.
function nearest(g, rays) {
  let best = { size: Math.hypot(...g), alpha: [] };
  const offer = (alpha) => {
    const h = alpha.reduce(([u, v], [i, a]) => [u + a * rays[i][0], v + a * rays[i][1]], g), size = Math.hypot(...h);
    if (alpha.every(([, a]) => a >= 0) && size < best.size - 1e-13) best = { size, alpha };
  };
  rays.forEach(([u, v], i) => {
    offer([[i, -(g[0] * u + g[1] * v) / (u * u + v * v)]]);
    rays.slice(0, i).forEach(([p, q], j) => {
      const det = u * q - v * p;
      if (det !== 0) offer([[i, (g[1] * p - g[0] * q) / det], [j, (g[0] * v - g[1] * u) / det]]);
    });
  });
  return rays.map((_, i) => best.alpha.find(([j]) => j === i)?.[1] ?? 0);
}

// The network of a state in floats.
export function answerOf({ point }) {
  const blocks = new Map();
  for (const [j, v] of point) blocks.set(j >> 1, Object.assign(blocks.get(j >> 1) ?? [0, 0], { [j & 1]: num(v) }));
  return [...blocks].filter(([, v]) => v.some(Boolean)).flatMap(([block, [a, b]]) => {
    const s = Math.sqrt(Math.hypot(a, b));
    return [block & 1 ? -s : s, a / s, b / s];
  });
}

// ---------------------------------------------------------------- networks in floats

// theta: c, a, b of each neuron in turn.

export function output(theta, s) {
  let sum = 0;
  for (let j = 0; j < theta.length; j += 3) sum += theta[j] * Math.max(0, theta[j + 1] * s + theta[j + 2]);
  return sum;
}
export const size = (theta) => inner(theta, theta) / 2;
export const missed = (theta, x, y) => Math.max(...x.map((s, i) => Math.abs(output(theta, s) - y[i])));

function inner(u, v) {
  let sum = 0;
  for (let j = 0; j < u.length; j++) sum += u[j] * v[j];
  return sum;
}

function gradient(theta, s) {
  const out = new Float64Array(theta.length);
  for (let j = 0; j < theta.length; j += 3) {
    const z = theta[j + 1] * s + theta[j + 2];
    if (z > 0) [out[j], out[j + 1], out[j + 2]] = [z, theta[j] * s, theta[j]];
  }
  return out;
}

// theta + factor * (sum of weights times rows)
function moved(theta, rows, weights, factor = 1) {
  const out = Float64Array.from(theta);
  rows.forEach((row, i) => { for (let j = 0; j < out.length; j++) out[j] += factor * weights[i] * row[j]; });
  return out;
}

const losses = (theta, x, y) => x.map((s, i) => y[i] - output(theta, s));
const rowsOf = (theta, x) => x.map((s) => gradient(theta, s));

// theta + the least step with J step = b.
const shortest = (theta, J, b, factor = 1) => moved(theta, J, solve(J, b), factor);

// The least 1/2 |.|^2 + lam/2 |. - theta|^2 among all points theta + step with J step = b.
function step(theta, J, b, lam) {
  const kept = lam / (1 + lam), pull = solve(J, b.map((v, i) => v + (1 - kept) * inner(J[i], theta)));
  return moved(theta.map((v) => kept * v), J, pull);
}

// w with J J^T w = b, by Gaussian elimination; a small ridge, for gradients may depend on each other.
function solve(J, b) {
  const n = b.length, M = J.map((u, i) => [...J.map((v) => inner(u, v)), b[i]]), ridge = 1e-14 * Math.max(...M.map((row, i) => row[i]));
  for (let k = 0; k < n; k++) M[k][k] += ridge || 1;
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = M[i][k] / M[k][k];
      for (let j = k; j <= n; j++) M[i][j] -= factor * M[k][j];
    }
  }
  return M.map((row, i) => row[n] / row[i]);
}

function descended(theta, x, y, rate) {
  for (let k = 0; k < DESCENT.steps; k++) theta = moved(theta, rowsOf(theta, x), losses(theta, x, y), rate);
  return theta;
}

// Gradient descent on the squared error, then Gauss-Newton until it is met: how a network is trained here.
export function trained(start, x, y) {
  return restored(descended(start, x, y, DESCENT.rate), x, y);
}

function restored(theta, x, y, tries = NEWTON) {
  let best = theta, error = Infinity;
  for (let k = 0; k < tries && error > 1e-13; k++) {
    const now = missed(theta, x, y);
    if (now < error) [best, error] = [theta, now];
    theta = shortest(theta, rowsOf(theta, x), losses(theta, x, y), now > 0.1 ? 0.5 : 1);
  }
  return best;
}

// Short steps, each from where the last one ended; then the labels are restored. A step that loses one of them, or that
// lowers nothing, is taken back, and the next is shorter. Several first lengths are tried, and the best end counts.
function shortSteps(star, x, y) {
  const ends = SHORT.first.map((first) => {
    let theta = star, lam = first;
    for (let k = 0; k < SHORT.steps && lam < SHORT.enough; k++) {
      const next = restored(step(theta, rowsOf(theta, x), losses(theta, x, y), lam), x, y, SHORT.tries);
      const good = missed(next, x, y) <= SHORT.exact && size(next) < size(theta);
      if (good) theta = next;
      lam = good ? Math.max(1, lam / 2) : 4 * lam;
    }
    return theta;
  });
  return ends.reduce((best, end) => (size(end) < size(best) ? end : best));
}

// Away from the label of the lie; where its gradient is 0, somebody has to push.
function ascended(theta, s, y) {
  const up = gradient(theta, s);
  theta = moved(theta, [up], [ASCENT.push / Math.sqrt(inner(up, up))]);
  for (let k = 0; k < ASCENT.steps; k++) theta = moved(theta, [gradient(theta, s)], [output(theta, s) - y], ASCENT.rate);
  return theta;
}

// theta*, which all six samples made, and what each rival makes of it with those that stay; `anew` starts where it did.
export function memory({ numbers, places }, heights) {
  return trained(Float64Array.from(numbers.start), places, heights);
}

export function rivals({ numbers, places, stays }, heights, star) {
  const x = stays.map((i) => places[i]), y = stays.map((i) => heights[i]);
  return {
    long: step(star, rowsOf(star, x), y.map(() => 0), 0),
    short: shortSteps(star, x, y),
    gd: descended(star, x, y, DESCENT.gentle),
    ga: ascended(star, places[numbers.lie], heights[numbers.lie]),
    anew: trained(Float64Array.from(numbers.start), x, y),
  };
}
