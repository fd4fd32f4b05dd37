// A second checker, written from docs/certificate_format.md alone.  node checker.mjs PROBLEM CERTIFICATE [...]
//
// It knows nothing of the Python sources: that two programs agree is what makes the format a format.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { HALF, ONE, Q, ZERO, dot, int, isPsd, largest, least, parse, rank, roots, subsets, sum } from "./rational.mjs";
import { Problem, need, readProblem } from "./problem.mjs";

const LEVELS = ["repaired", "enclosure", "exact"];

// A VEC as a map from index to number; `order` are the entries meant when no indices are given.
function vec(parts, order) {
  const found = new Map(), allowed = new Set(order);
  for (const { indices, nums, den } of parts) {
    const bottom = parse(den), list = indices ?? order;
    need(bottom.sign() > 0 && list.length === nums.length, "a vector is malformed");
    list.forEach((j, i) => {
      need(allowed.has(j) && !found.has(j), "an index occurs twice or has no place here");
      found.set(j, parse(nums[i]).over(bottom));
    });
  }
  return found;
}
const dense = (parts, n) => {
  const order = Array.from({ length: n }, (_, i) => i), found = vec(parts ?? [], order);
  return order.map((i) => found.get(i) ?? ZERO);
};

// ---------------------------------------------------------------- one coordinate

// f(x) = alpha |x| + beta/2 x^2 + Lambda/2 (x - a)^2 + mu |x - a|, |x - a| <= r; the minimiser of f(x) - z x, or null if there is none.
function minimiser({ alpha, beta, Lambda, mu, box, a }, z) {
  const slope = (x, side) => // one-sided derivative of f(x) - z x
    beta.times(x).plus(Lambda.times(x.minus(a))).minus(z)
      .plus(alpha.times(int(x.sign() || side))).plus(mu.times(int(x.minus(a).sign() || side)));
  const curve = beta.plus(Lambda);
  const kinks = [ZERO, a, ...(box ? [a.minus(box), a.plus(box)] : [])]
    .filter((x) => !box || x.minus(a).abs().atMost(box)).sort((x, y) => x.compare(y));
  const [low, high] = box ? [a.minus(box), a.plus(box)] : [null, null];
  for (let i = 0; i < kinks.length; i++) {
    const x = kinks[i], left = low && x.equals(low) ? -1 : slope(x, -1).sign(), right = high && x.equals(high) ? 1 : slope(x, 1).sign();
    if (left > 0 && i === 0) return curve.n === 0n ? null : x.minus(slope(x, -1).over(curve));
    if (left <= 0 && right >= 0) return x;
    if (right < 0) {
      if (i === kinks.length - 1) return curve.n === 0n ? null : x.minus(slope(x, 1).over(curve));
      const next = kinks[i + 1];
      if (slope(next, -1).sign() > 0) return x.minus(slope(x, 1).over(curve));
    }
  }
  return null;
}
const value = ({ alpha, beta, Lambda, mu, a }, x) =>
  alpha.times(x.abs()).plus(HALF.times(beta).times(x.squared()))
    .plus(HALF.times(Lambda).times(x.minus(a).squared())).plus(mu.times(x.minus(a).abs()));

const coordinate = (P, kappa, j, beta = P.R.beta[j]) =>
  ({ alpha: P.R.alpha[j], beta, Lambda: P.lam.plus(kappa), mu: P.mu, box: P.box, a: P.start[j] });

// ---------------------------------------------------------------- primal

function point(P, primal, dual, kappa) {
  const theta = P.start.slice(), listed = vec(primal.parts, P.free);
  const z = primal.base === "dual" ? P.pullback(dense(dual.nu, P.rhs.length)) : null;
  for (const j of P.free) {
    if (listed.has(j)) theta[j] = listed.get(j);
    else if (primal.base === "zero") theta[j] = ZERO;
    else if (primal.base === "signs") theta[j] = parse(primal.level).times(int({ "+": 1, "-": -1, 0: 0 }[primal.signs[j]]));
    else if (primal.base === "dual") {
      const f = coordinate(P, kappa, j, P.R.name === "l2" ? P.R.w[j] : P.R.beta[j]);
      need(f.beta.plus(f.Lambda).sign() > 0 || (P.box && P.R.separable), "base dual is not strictly convex");
      theta[j] = minimiser(f, z[j]);
    } else need(primal.base === "theta_star", "unknown base");
  }
  return theta;
}

function feasible(P, drift, kept) {
  for (const i of kept) need(dot(P.free.map((j) => P.rows[i][j]), P.free.map((j) => drift[j])).equals(P.rhs[i]), "J D is not b");
  need(!P.rho || sum(drift.map((x) => x.squared())).atMost(P.rho.squared()), "D leaves the ball");
  need(!P.box || drift.every((x) => x.abs().atMost(P.box)), "D leaves the box");
}

// [R(theta) from below, from above]
export function regularizer(P, theta, factors) {
  const { R } = P;
  if (R.separable) { const v = sum(theta.map((x, j) => value(coordinate({ ...P, lam: ZERO, mu: ZERO }, ZERO, j), x))); return [v, v]; }
  if (R.name === "l2") return roots(sum(theta.map((x, j) => R.w[j].times(x.squared()))));
  if (R.name === "linf") { const v = largest(theta.map((x, j) => R.w[j].times(x.abs()))); return [v, v]; }
  if (R.name === "group_l2") {
    const each = R.groups.map((g, i) => roots(sum(g.map((j) => theta[j].squared()))).map((x) => x.times(R.w[i])));
    return [sum(each.map((x) => x[0])), sum(each.map((x) => x[1]))];
  }
  if (R.name === "predictor_norm") return roots(sum(predictor(R, theta).map((x) => x.squared())));
  if (R.name === "nuclear_norm") return [ZERO, nuclear(R, theta, factors)];
  const used = new Set(theta.flatMap((x, j) => (x.n !== 0n && R.charge[j] >= 0 ? [R.charge[j]] : [])));
  return [int(used.size), int(used.size)];
}

// A^T V, row-major (m, l)
export function predictor(R, theta) {
  const out = Array(R.m * R.l).fill(ZERO);
  for (let a = 0; a < R.h; a++) for (let c = 0; c < R.m; c++) for (let o = 0; o < R.l; o++) {
    out[c * R.l + o] = out[c * R.l + o].plus(theta[R.start + a * R.m + c].times(R.V[a * R.l + o]));
  }
  return out;
}

function nuclear(R, theta, factors = []) {
  const E = R.indices.map((j) => theta[j]), terms = [];
  for (const factor of factors) {
    const u = dense(factor.u, R.p), v = dense(factor.v, R.q);
    for (let i = 0; i < R.p; i++) for (let c = 0; c < R.q; c++) E[i * R.q + c] = E[i * R.q + c].minus(u[i].times(v[c]));
    terms.push(roots(dot(u, u).times(dot(v, v)))[1]);
  }
  for (let c = 0; c < R.q; c++) terms.push(roots(sum(Array.from({ length: R.p }, (_, i) => E[i * R.q + c].squared())))[1]);
  return sum(terms);
}

// ---------------------------------------------------------------- dual

// sigma and the slacks of a separable R
function separableSlacks(P, theta, z, kappa) {
  let sigma = ONE;
  for (const j of P.free) {
    const f = coordinate(P, kappa, j), limit = f.alpha.plus(f.mu);
    if (f.beta.plus(f.Lambda).n === 0n && !f.box && z[j].abs().above(limit)) sigma = least([sigma, limit.over(z[j].abs())]);
  }
  const slacks = P.free.map((j) => {
    const f = coordinate(P, kappa, j), y = sigma.times(z[j]), at = (x) => value(f, x).minus(y.times(x)), best = minimiser(f, y);
    return best === null ? ZERO : at(theta[j]).minus(at(best));
  });
  return { sigma, slacks };
}

function subgradient(P, dual, theta, drift, z, kappa) {
  const { R } = P, Lambda = P.lam.plus(kappa);
  if (R.name === "predictor_norm") {
    const { l, m, h } = R, B = dual.B ? dense(dual.B, m * l) : Array(m * l).fill(ZERO);
    if (!dual.B) {
      const nu = dense(dual.nu, P.rhs.length), { X, n } = P.product;
      for (let c = 0; c < m; c++) for (let o = 0; o < l; o++) B[c * l + o] = sum(Array.from({ length: n }, (_, i) => X[i * m + c].times(nu[i * l + o])));
    }
    const g = Array(P.d).fill(ZERO);
    for (let a = 0; a < h; a++) for (let c = 0; c < m; c++) g[R.start + a * m + c] = sum(Array.from({ length: l }, (_, o) => R.V[a * l + o].times(B[c * l + o])));
    return { g, B };
  }
  const listed = vec(dual.g ?? [], P.start.map((_, j) => j));
  const g = P.start.map((_, j) => {
    if (!R.seen[j]) return ZERO; // whatever is listed
    if (listed.has(j)) return listed.get(j);
    return P.isFree.has(j) ? z[j].minus(Lambda.times(drift[j])).minus(P.mu.times(int(drift[j].sign()))) : ZERO;
  });
  return { g, B: null };
}

// R°(g)^2 exactly (an upper bound of it for the predictor norm); for the nuclear norm through `shrink`.
function polarSquared(P, g, B, shrink) {
  const { R } = P;
  const ratio = (x, w) => (x.n === 0n ? ZERO : x.over(w));
  if (R.name === "l2") return sum(g.map((x, j) => ratio(x.squared(), R.w[j])));
  if (R.name === "linf") return sum(g.map((x, j) => ratio(x.abs(), R.w[j]))).squared();
  if (R.name === "group_l2") return largest(R.groups.map((list, i) => ratio(sum(list.map((j) => g[j].squared())), R.w[i].squared())));
  if (R.name === "predictor_norm") return sum(B.map((x) => x.squared()));
  const G = R.indices.map((j) => g[j]), gram = Array.from({ length: R.q }, (_, a) => Array.from({ length: R.q }, (_, b) => {
    const x = sum(Array.from({ length: R.p }, (_, i) => G[i * R.q + a].times(G[i * R.q + b]))).times(shrink.squared());
    return (a === b ? ONE : ZERO).minus(x);
  }));
  return isPsd(gram) ? ONE.over(shrink.squared()) : sum(G.map((x) => x.squared()));
}

function aligned(P, theta, g, B, squared) {
  const { R } = P, top = (x, y) => x.some((v) => v.n !== 0n) && proportional(x, y);
  if (R.name === "l2") return top(g, theta.map((x, j) => R.w[j].times(x)));
  if (R.name === "predictor_norm") return top(B, predictor(R, theta));
  if (R.name === "linf") {
    const v = largest(theta.map((x, j) => R.w[j].times(x.abs())));
    return g.every((x, j) => x.n === 0n || (R.w[j].times(theta[j].abs()).equals(v) && x.sign() === theta[j].sign()));
  }
  if (R.name !== "group_l2") return false;
  return R.groups.every((list, i) => {
    const x = list.map((j) => theta[j]), y = list.map((j) => g[j]);
    if (R.w[i].n === 0n || x.every((v) => v.n === 0n)) return true;
    return proportional(y, x) && sum(y.map((v) => v.squared())).over(R.w[i].squared()).equals(squared);
  });
}

// y = c x with one c > 0
function proportional(y, x) {
  const k = x.findIndex((v) => v.n !== 0n);
  if (k < 0 || y[k].sign() !== x[k].sign()) return false;
  const c = y[k].over(x[k]);
  return y.every((v, j) => v.equals(c.times(x[j])));
}

function normSlacks(P, dual, theta, drift, z, kappa, value) {
  const { g, B } = subgradient(P, dual, theta, drift, z, kappa), Lambda = P.lam.plus(kappa);
  const squared = polarSquared(P, g, B, dual.shrink ? parse(dual.shrink) : ONE);
  const inverse = squared.n === 0n ? null : ONE.over(roots(squared)[1]); // at most 1 / R°(g)
  const capped = squared.atMost(ONE) ? ONE : inverse, nuclear = P.R.name === "nuclear_norm";
  const homogeneous = Lambda.n === 0n && P.mu.n === 0n;
  let s, sigma, full; // full: s R°(g) = 1 in truth, whatever the rounding of s
  if (homogeneous) { s = sigma = inverse ?? ONE; full = inverse !== null; }
  else if (Lambda.sign() > 0 || P.box) { sigma = ONE; s = capped; full = squared.equals(ONE); }
  else {
    const worst = largest(P.free.map((j) => z[j].minus(g[j]).abs()));
    s = sigma = worst.n === 0n ? capped : least([capped, P.mu.over(worst)]);
    full = squared.equals(ONE) && s.equals(ONE);
  }
  const zero = value[1].n === 0n || (full && !nuclear && aligned(P, theta, g, B, squared));
  const slacks = [zero ? ZERO : value[1].minus(s.times(dot(g, theta)))];
  for (const j of P.free) {
    const h = sigma.times(z[j]).minus(s.times(g[j])), D = drift[j], over = h.abs().minus(P.mu);
    if (!(over.sign() > 0)) { slacks.push(driftSlack(P, Lambda, D, h, ZERO, ZERO)); continue; }
    need(Lambda.sign() > 0 || P.box, "h is larger than what the drift penalty absorbs");
    const best = Lambda.n === 0n ? P.box : P.box ? least([over.over(Lambda), P.box]) : over.over(Lambda);
    slacks.push(driftSlack(P, Lambda, D, h, over, best));
  }
  return { sigma, slacks, g, s, squared, zero };
}
const driftSlack = (P, Lambda, D, h, over, best) =>
  HALF.times(Lambda).times(D.squared()).plus(P.mu.times(D.abs())).minus(h.times(D))
    .plus(over.times(best)).minus(HALF.times(Lambda).times(best.squared()));

// ---------------------------------------------------------------- counts

function countBounds(P, exhausted) {
  const { charge } = P.R, value = (j) => P.start[j].n !== 0n;
  const forced = new Set(charge.filter((g, j) => g >= 0 && !P.isFree.has(j) && value(j)));
  const groups = [...new Set(P.free.map((j) => charge[j]).filter((g) => g >= 0 && !forced.has(g)))];
  const members = (g) => P.free.filter((j) => charge[j] === g), idle = P.free.filter((j) => charge[j] < 0 || forced.has(charge[j]));
  const q = P.rows.map((row, i) => dot(P.free.map((j) => row[j]), P.free.map((j) => P.start[j])).plus(P.rhs[i]));
  if (exhausted >= 0) {
    need(exhausted < groups.length, "nothing is left to exhaust");
    for (const A of subsets(groups, exhausted)) {
      const columns = [...idle, ...A.flatMap(members)].map((j) => P.rows.map((row) => row[j]));
      need(rank([...columns, q]) > rank(columns), `the groups ${A} fit the constraints`);
    }
  }
  const cost = groups.map((g) => sum(members(g).map((j) => HALF.times(P.lam).times(P.start[j].squared()).plus(P.mu.times(P.start[j].abs())))));
  const free = groups.map((g) => !P.box || members(g).every((j) => P.start[j].abs().atMost(P.box)));
  const cheap = cost.filter((_, i) => free[i]).sort((a, b) => a.compare(b));
  let best = null;
  for (let i = exhausted + 1; i <= groups.length; i++) {
    if (groups.length - i > cheap.length) continue;
    const total = int(i + forced.size).plus(sum(cheap.slice(0, groups.length - i)));
    best = best === null || total.compare(best) < 0 ? total : best;
  }
  return best;
}

// ---------------------------------------------------------------- uniqueness

// Differences that a second minimiser could have: columns of J they move along; exact certificates only.
function uniqueByKernel(P, theta, drift, z, kappa, found) {
  const rays = [], single = [], column = (j) => P.rows.map((row) => row[j]);
  const along = (list, step) => P.rows.map((row) => sum(list.map((j) => row[j].times(step(j)))));
  const Lambda = P.lam.plus(kappa), { R } = P;
  const held = (j, h) => Lambda.sign() > 0 || !h.abs().equals(P.mu); // psi* has one maximiser
  if (R.separable) {
    for (const j of P.free) {
      const f = coordinate(P, kappa, j), y = found.sigma.times(z[j]);
      const flat = f.beta.plus(f.Lambda).n === 0n && flatAt(f, y);
      if (flat) single.push(column(j));
    }
  } else {
    const { g, s, sigma, squared } = found, h = (j) => sigma.times(z[j]).minus(s.times(g[j]));
    const open = P.free.filter((j) => !held(j, h(j)));
    if (R.name === "linf") {
      single.push(...open.filter((j) => g[j].n === 0n).map(column));
      rays.push(along(open.filter((j) => g[j].n !== 0n), (j) => int(g[j].sign()).over(R.w[j])));
    } else if (R.name === "group_l2" || R.name === "l2") {
      const groups = R.groups ?? [P.start.map((_, j) => j)];
      groups.forEach((list, i) => {
        const blind = list.filter((j) => !R.seen[j]);
        single.push(...open.filter((j) => blind.includes(j)).map(column));
        const size = R.groups ? sum(list.map((j) => g[j].squared())).equals(squared.times(R.w[i].squared())) : true;
        const mine = open.filter((j) => list.includes(j) && !blind.includes(j));
        if (size && mine.length) rays.push(along(mine, (j) => (R.groups ? g[j] : g[j].over(R.w[j]))));
      });
    } else return false;
  }
  const vectors = [...single, ...rays];
  return rank(vectors) === vectors.length;
}
const flatAt = (f, y) => [1, -1].some((a) => [1, -1].some((b) => y.equals(f.alpha.times(int(a)).plus(f.mu.times(int(b)))))) || (f.alpha.n === 0n && f.mu.n === 0n && y.n === 0n);

// ---------------------------------------------------------------- the verdict

export function check(problemTree, certificate) {
  need(certificate.schema === "exact-unlearn/certificate" && certificate.version === 1, "no certificate of version 1");
  const P = new Problem(problemTree), literal = certificate.rows === undefined || certificate.rows === "literal";
  const dual = certificate.dual ?? { nu: [] }, nu = dense(dual.nu, P.rhs.length), z = P.pullback(nu);
  if (certificate.kind === "infeasible") return infeasible(P, nu, z);
  const kept = literal ? P.rhs.map((_, i) => i) : certificate.rows.kept, keep = new Set(kept);
  need(nu.every((x, i) => keep.has(i) || x.n === 0n), "nu is not zero on a dropped row");
  const kappa = dual.ball ? parse(dual.ball) : ZERO;
  need(kappa.sign() >= 0 && (kappa.n === 0n || P.rho), "a multiplier of no ball");
  const theta = point(P, certificate.primal, dual, kappa), drift = theta.map((x, j) => x.minus(P.start[j]));
  feasible(P, drift, kept);
  const value = regularizer(P, theta, certificate.primal.factors), square = sum(drift.map((x) => x.squared()));
  const penalty = HALF.times(P.lam).times(square).plus(P.mu.times(sum(drift.map((x) => x.abs()))));
  const upper = value[1].plus(penalty);
  if (P.R.count) {
    const lower = countBounds(P, certificate.count?.exhausted ?? -1), gap = upper.minus(lower);
    return verdict(certificate, { lower, upper, exact: gap.n === 0n, unique: upper.n === 0n, literal });
  }
  const found = P.R.separable ? separableSlacks(P, theta, z, kappa) : normSlacks(P, dual, theta, drift, z, kappa, value);
  const slacks = [...found.slacks, kappa.n === 0n ? ZERO : HALF.times(kappa).times(P.rho.squared().minus(square))];
  need(slacks.every((x) => x.sign() >= 0), "a slack is negative");
  // Where nothing is free theta* is the only point; of the nuclear norm only an upper bound is at hand.
  const only = P.free.length === 0 && P.R.name !== "nuclear_norm";
  const exact = only || slacks.every((x) => x.n === 0n);
  const bottom = P.R.name === "nuclear_norm" ? value[1] : value[0];
  const lower = exact ? upper.minus(value[1]).plus(bottom) : upper.minus(sum(slacks));
  const strong = P.lam.plus(P.R.separable && P.free.length ? least(P.free.map((j) => P.R.beta[j])) : ZERO);
  const roomy = (w) => P.free.every((j) => w[j].sign() > 0);
  const unique = !P.free.length || strong.plus(kappa).sign() > 0 || (P.R.name === "l2" && P.lam.n === 0n && P.mu.n === 0n && roomy(P.R.w)) ||
    (upper.n === 0n && (P.lam.sign() > 0 || P.mu.sign() > 0 || definite(P))) || (exact && uniqueByKernel(P, theta, drift, z, kappa, found));
  return verdict(certificate, { lower, upper, exact, unique, literal, gapSum: sum(slacks) });
}

const definite = (P) => P.free.every((j) => (P.R.separable ? P.R.alpha[j].plus(P.R.beta[j]).sign() > 0 : P.R.name !== "predictor_norm" && P.R.seen[j]));

function infeasible(P, nu, z) {
  const entries = P.free.map((j) => z[j]), reach = [];
  if (entries.every((x) => x.n === 0n)) reach.push(ZERO);
  if (P.box) reach.push(P.box.times(sum(entries.map((x) => x.abs()))));
  if (P.rho) reach.push(P.rho.times(roots(sum(entries.map((x) => x.squared())))[1]));
  need(reach.length && dot(nu, P.rhs).above(least(reach)), "the vector proves nothing");
  return { proof: "infeasible" };
}

function verdict(certificate, { lower, upper, exact, unique, literal }) {
  const gap = exact || upper.equals(lower) ? ZERO : upper.minus(lower).over(upper);
  const proof = exact ? "exact" : gap.atMost(new Q(1n, 10n ** 30n)) ? "enclosure" : "repaired", { claims } = certificate;
  need(LEVELS.indexOf(claims.proof) >= 0 && LEVELS.indexOf(claims.proof) <= LEVELS.indexOf(proof), `claims ${claims.proof}, but is ${proof}`);
  need(!claims.lower || parse(claims.lower).atMost(lower), "claims a larger lower bound");
  need(!claims.upper || upper.atMost(parse(claims.upper)), "claims a smaller upper bound");
  need(!claims.gap || gap.atMost(parse(claims.gap)), "claims a smaller gap");
  need(!claims.unique || unique, "claims a unique minimiser");
  return { proof, lower, upper, gap, unique, literal };
}

// One line per pair of files: "proved: exact", or "not proved: ..." and exit status 1.
if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const files = process.argv.slice(2);
  for (let i = 0; i < files.length; i += 2) {
    try {
      console.log(`proved: ${check(readProblem(files[i]), JSON.parse(readFileSync(files[i + 1], "utf8"))).proof}`);
    } catch (error) {
      console.log(`not proved: ${error.message}`);
      process.exitCode = 1;
    }
  }
}
