// A second checker, written from docs/certificate_format.md alone.
//
// It knows nothing of the Python sources: that two programs agree is what makes the format a format.  It reads no file,
// so that it runs in a page as well; tests/js/command.mjs makes a command of it.

import { BASE, HALF, ONE, Q, ZERO, dot, int, isPsd, largest, least, need, parse, rank, rankModulo, roots, scaled, subsets, sum, work } from "./rational.mjs";
import { Problem, dense, expectSchema, has, indices, integer, isObject, listing, member, range, vec } from "./problem.mjs";

import { Near } from "./near.mjs";
import { bendBreaks, bendCurve, bendSlope, bendValue, formValue, nuclearAbove, summed } from "./forms.mjs";
import { better, powers } from "./vertices.mjs";

const LEVELS = ["repaired", "enclosure", "exact"];
const length = (x) => roots(dot(x, x))[1];

// ---------------------------------------------------------------- one coordinate

// f(x) = alpha |x| + beta/2 x^2 + Lambda/2 (x - a)^2 + mu |x - a| + bends, |x - a| <= r, less z x: its slopes on both sides
// of x.
function slopes({ alpha, beta, Lambda, mu, box, a, bends }, x, z) {
  const D = x.minus(a), smooth = beta.times(x).plus(Lambda.times(D)).minus(z), more = (s) => sum(bends.map((b) => bendSlope(b, x, s)));
  const side = (s) => smooth.plus(alpha.times(int(x.sign() || s))).plus(mu.times(int(D.sign() || s))).plus(more(s));
  return [box && D.equals(box.negated()) ? null : side(-1), box && D.equals(box) ? null : side(1)]; // null: a wall
}

// The minimiser, or null if there is none: the first place, from the left, where the slope changes its sign.
function minimiser(f, z) {
  if (f.bends.length) return bentMinimiser(f, z);
  const { alpha, beta, Lambda, mu, box, a } = f, curve = beta.plus(Lambda);
  const inside = (x) => !box || x.minus(a).abs().atMost(box);
  const kinks = [ZERO, a, ...(box ? [a.minus(box), a.plus(box)] : [])].filter(inside);
  const smooth = curve.n === 0n ? [] : [-1, 1].flatMap((s) => [-1, 1].map((t) =>
    z.plus(Lambda.times(a)).plus(alpha.times(int(s))).plus(mu.times(int(t))).over(curve))).filter(inside);
  for (const x of [...kinks, ...smooth]) {
    const [left, right] = slopes(f, x, z);
    if ((left === null || left.sign() <= 0) && (right === null || right.sign() >= 0)) return x;
  }
  return null;
}
// The same among bends: between two breaks the slope is a straight line.
function bentMinimiser(f, z) {
  const { Lambda, box, a, bends } = f, inside = (x) => !box || x.minus(a).abs().atMost(box);
  const breaks = [a, ...(box ? [a.minus(box), a.plus(box)] : []), ...bends.flatMap(bendBreaks)].filter(inside).sort((x, y) => x.compare(y));
  const curve = (x) => Lambda.plus(sum(bends.map((b) => bendCurve(b, x))));
  for (const [i, x] of breaks.entries()) {
    const [left, right] = slopes(f, x, z);
    if (left !== null && left.sign() > 0) { // the slope is 0 before x, in the interval that ends there
      const q = curve(i ? HALF.times(x.plus(breaks[i - 1])) : x.minus(ONE));
      return q.n === 0n ? null : x.minus(left.over(q));
    }
    if (right === null || right.sign() >= 0) return x;
  }
  const last = breaks[breaks.length - 1], q = curve(last.plus(ONE));
  return q.n === 0n ? null : last.minus(slopes(f, last, z)[1].over(q));
}
const value = ({ alpha, beta, Lambda, mu, a, bends }, x) =>
  sum(bends.map((b) => bendValue(b, x))).plus(alpha.times(x.abs())).plus(HALF.times(beta).times(x.squared()))
    .plus(HALF.times(Lambda).times(x.minus(a).squared())).plus(mu.times(x.minus(a).abs()));

// Whether f has curvature on the side s of x.
function bendsAt({ beta, Lambda, bends }, x, s) {
  const near = (b) => { const u = x.minus(b.c).abs(); return b.delta.above(u) || (b.delta.equals(u) && x.minus(b.c).sign() !== s); };
  return beta.plus(Lambda).sign() > 0 || bends.some((b) => b.kind === "square" || (b.kind === "huber" && near(b)));
}

// By how much f(x) - z x exceeds its minimum, rounded up to 2^-4096; and whether only x attains it.
function slackAt(f, x, z) {
  const [left, right] = slopes(f, x, z), down = left === null ? -1 : left.sign(), up = right === null ? 1 : right.sign();
  if (down <= 0 && up >= 0) return { slack: ZERO, pin: (down < 0 || bendsAt(f, x, -1)) && (up > 0 || bendsAt(f, x, 1)) };
  const best = minimiser(f, z);
  need(best, "J^T nu is larger than what could absorb it");
  return { slack: value(f, x).minus(z.times(x)).minus(value(f, best).minus(z.times(best))).roundedUp(), pin: false };
}

// ---------------------------------------------------------------- the certificate

class Proof {
  constructor(P, spec) {
    need(expectSchema(spec, "exact-unlearn/certificate") === P.version, "the problem is of another version");
    const every = range(P.rhs.length), equations = every.filter((i) => !P.atLeast[i]);
    Object.assign(this, { P, spec, sigma: ONE, tau: ZERO, kept: equations, labels: P.rhs });
    if (has(spec, "rows") && spec.rows !== "literal") {
      this.kept = [...indices(member(spec.rows, "kept"), new Set(equations))].sort((a, b) => a - b);
      this.tau = parse(member(spec.rows, "tau"));
      need(this.tau.sign() >= 0, "tau is negative");
      const moved = vec(has(spec.rows, "rhs") ? spec.rows.rhs : [], equations);
      this.labels = P.rhs.map((b, i) => moved.get(i) ?? b);
    }
    this.literal = this.kept.length === equations.length && this.labels.every((b, i) => b.equals(P.rhs[i]));
    this.dual = has(spec, "dual") ? spec.dual : { nu: [] };
    const kept = new Set(this.kept), nu = vec(member(this.dual, "nu"), every.filter((i) => kept.has(i) || P.atLeast[i]));
    this.nu = every.map((i) => nu.get(i) ?? ZERO);
    need(this.nu.every((x, i) => !P.atLeast[i] || x.sign() >= 0), "a multiplier of a row that reads >= is negative");
    this.kappa = has(this.dual, "ball") ? parse(this.dual.ball) : ZERO;
    need(this.kappa.sign() >= 0 && (this.kappa.n === 0n || P.rho), "a multiplier of no ball");
    this.Lambda = P.lam.plus(this.kappa);
    this.bounded = this.Lambda.sign() > 0 || P.box !== null;
    this.z = P.pullback(this.nu);
  }

  f(j, alpha = this.P.R.alpha[j], beta = this.P.R.beta[j]) {
    const { Lambda, P } = this, bends = P.R.form ? P.R.bends[j] : [];
    return { alpha, beta, Lambda, mu: P.mu, box: P.box, a: P.start[j], bends };
  }

  // ---------------------------------------------------------------- section 4

  place() {
    const { P } = this, primal = member(this.spec, "primal"), base = member(primal, "base"), listed = vec(member(primal, "parts"), P.free);
    const plain = P.mu.n === 0n && !P.box && (P.R.separable || P.R.name === "l2");
    need(base === "zero" || base === "theta_star" || (base === "dual" && plain), "this base does not apply");
    this.near = has(primal, "near") ? new Near(this, primal.near) : null;
    this.theta = P.start.slice();
    for (const j of P.free) {
      if (listed.has(j)) this.theta[j] = listed.get(j);
      else if (base === "zero") this.theta[j] = ZERO;
      else if (base === "dual") {
        const beta = P.R.name === "l2" ? P.R.w[j] : P.R.beta[j], f = this.f(j, P.R.alpha[j], beta);
        need(f.beta.plus(f.Lambda).sign() > 0, "the base dual does not apply where the objective is not strictly convex");
        this.theta[j] = minimiser(f, this.z[j]);
      }
      if (this.near && !listed.has(j) && base !== "theta_star") this.theta[j] = this.near.rounded(this.theta[j]);
    }
    this.D = this.theta.map((x, j) => x.minus(P.start[j]));
    const kept = new Set(this.kept), moved = P.free.filter((j) => this.D[j].n !== 0n), own = moved.map((j) => this.D[j]);
    this.error = this.idle = ZERO;
    const values = P.rows.map((row) => dot(moved.map((j) => row[j]), own));
    if (this.near) this.idle = this.near.settle(values.map((got, i) => got.minus(this.labels[i])));
    values.forEach((got, i) => {
      const off = this.labels[i].minus(P.rhs[i]).abs(), shift = this.near && !this.near.solved.has(i) ? this.near.shift(i) : ZERO;
      if (this.near && this.near.solved.has(i)) this.error = largest([off], this.error);
      else if (P.atLeast[i]) {
        need(P.rhs[i].atMost(got.minus(shift)), `J D >= b fails in row ${i}`);
        if (!this.near) this.idle = this.idle.plus(this.nu[i].times(got.minus(P.rhs[i])));
      } else {
        need(!kept.has(i) || (!this.near && got.equals(this.labels[i])), `J D = b fails in row ${i}`);
        this.error = largest([got.minus(P.rhs[i]).abs().plus(shift), off], this.error);
      }
    });
    this.square = dot(own, own);
    const reach = this.near ? P.free.map((j) => this.near.enlarged(this.D[j], j)) : own;
    need(!P.rho || dot(reach, reach).atMost(P.rho.squared()), "D leaves the ball");
    need(!P.box || reach.every((x) => x.abs().atMost(P.box)), "D leaves the box");
    this.drift = this.penalty(own);
  }

  penalty(D) {
    return HALF.times(this.P.lam).times(dot(D, D)).plus(this.P.mu.times(sum(D.map((x) => x.abs()))));
  }

  // R + Rhat of theta + e, from above
  above() {
    const { P, near } = this, { R } = P;
    need(R.separable || ["l2", "linf", "group_l2"].includes(R.name), `near does not apply to ${R.name}`);
    const drift = this.penalty(P.free.map((j) => near.enlarged(this.D[j], j)));
    return regularizer(P, this.theta.map((x, j) => near.enlarged(x, j)))[1].plus(drift);
  }

  // ---------------------------------------------------------------- sections 5 and 6

  bound() {
    const { P } = this;
    this.root = null;
    this.pins = new Map();
    this.value = regularizer(P, this.theta, this.spec.primal.factors); // [from below, from above]
    if (P.R.power) this.slack = this.concave();
    else if (P.R.count) this.slack = this.value[1].plus(this.drift).minus(this.count());
    else {
      this.slack = P.R.form ? summed(this) : P.R.separable ? this.separable() : this.normed();
      if (this.kappa.n !== 0n) this.slack = this.slack.plus(HALF.times(this.kappa).times(P.rho.squared().minus(this.square)));
    }
    // Where nothing is free theta* is the only point; of the nuclear norm only an upper bound is at hand.
    const matrices = P.R.name === "nuclear_norm" || (P.R.form && P.R.parts.some((part) => part.kind === "spectral"));
    if (P.free.length === 0 && !matrices) this.slack = ZERO;
    this.upper = this.value[1].plus(this.drift);
    this.below = (this.slack.n === 0n ? this.value[0] : this.value[1]).plus(this.drift).minus(this.slack);
    if (this.near) {
      need(!P.R.count && !P.R.power, "near does not apply to counts and powers");
      this.upper = this.above();
      this.slack = this.upper.minus(this.below);
      need(this.slack.sign() >= 0, "the bounds contradict each other");
    }
    this.lower = largest([this.below]);
  }

  // Section 12: by how much the sum of powers of theta may exceed that of a vertex, or what |x|_1 and nu say.
  concave() {
    const { P, spec } = this, L = P.R.power, x = P.free.map((j) => this.theta[j]), width = this.value[1].minus(this.value[0]);
    const tried = has(spec, "vertices") ? spec.vertices : false, start = P.free.map((j) => P.start[j]);
    need(typeof tried === "boolean", "vertices is true or false");
    this.alone = x.every((v) => v.n === 0n);
    if (this.alone) return ZERO;
    if (tried) {
      const rows = this.kept.map((i) => P.free.map((j) => P.rows[i][j])), q = rows.map((row, at) => dot(row, start).plus(this.labels[this.kept[at]]));
      const [excess, alone] = better(rows.map((row, at) => [...row, q[at]]), x, L);
      this.alone = alone;
      return excess.n === 0n ? ZERO : excess.plus(width);
    }
    const z = P.free.map((j) => this.z[j]), top = largest(z.map((v) => v.abs()));
    const reach = top.n === 0n ? ZERO : largest([dot(this.nu, this.labels).plus(dot(z, start)).over(top)]);
    const fixed = P.start.filter((_, j) => !P.isFree.has(j));
    return this.value[1].minus(powers(fixed, L)[0]).minus(powers([reach], L)[0]);
  }

  slacks(f, y) {
    return sum(this.P.free.map((j) => {
      const { slack, pin } = slackAt(f(j), this.theta[j], y(j));
      this.pins.set(j, pin);
      return slack;
    }));
  }

  separable() {
    const { P, z } = this;
    if (!this.bounded) {
      for (const j of P.free) {
        const limit = P.R.alpha[j].plus(P.mu);
        if (P.R.beta[j].n === 0n && z[j].abs().above(limit)) this.sigma = least([this.sigma, limit.over(z[j].abs())]);
      }
    }
    return this.slacks((j) => this.f(j), (j) => this.sigma.times(z[j])).plus(this.sigma.times(this.idle));
  }

  subgradient() {
    const { P, dual } = this, { R } = P;
    if (R.name === "predictor_norm") {
      const { l, m, h } = R;
      let B;
      if (has(dual, "B")) B = dense(dual.B, m * l);
      else {
        need(P.product && P.product.m === m && P.product.l === l, "B is missing");
        const { X, n } = P.product;
        B = range(m * l).map((at) => dot(range(n).map((i) => X[i * m + Math.floor(at / l)]), range(n).map((i) => this.nu[i * l + (at % l)])));
      }
      const g = Array(P.d).fill(ZERO);
      for (let a = 0; a < h; a++) for (let c = 0; c < m; c++) g[R.start + a * m + c] = dot(R.V.slice(a * l, (a + 1) * l), B.slice(c * l, (c + 1) * l));
      return { g, B };
    }
    const listed = vec(has(dual, "g") ? dual.g : [], range(P.d));
    const g = P.start.map((_, j) => {
      if (!R.seen[j]) return ZERO; // whatever is listed
      if (listed.has(j)) return listed.get(j);
      return P.isFree.has(j) ? this.z[j].minus(this.Lambda.times(this.D[j])).minus(P.mu.times(int(this.D[j].sign()))) : ZERO;
    });
    return { g, B: null };
  }

  // R°(g) from above, and its square where that is rational
  polar(g, B) {
    const { R } = this.P, ratio = (x, w) => (x.n === 0n ? ZERO : x.over(w));
    if (R.name === "linf") { const v = sum(g.map((x, j) => ratio(x.abs(), R.w[j]))); return [v, v.squared()]; }
    if (R.name === "nuclear_norm") {
      const G = R.indices.map((j) => g[j]), n = Math.min(R.p, R.q);
      const A = R.p < R.q ? range(n).map((i) => G.slice(i * R.q, (i + 1) * R.q)) : range(n).map((c) => range(R.p).map((i) => G[i * R.q + c]));
      const gram = range(n).map((a) => range(n).map((b) => (a === b ? ONE : ZERO).minus(dot(A[a], A[b]))));
      return [isPsd(gram) ? ONE : length(G), null];
    }
    const squared = R.name === "l2" ? sum(g.map((x, j) => ratio(x.squared(), R.w[j])))
      : R.name === "predictor_norm" ? dot(B, B)
      : largest(R.groups.map((list, i) => ratio(sum(list.map((j) => g[j].squared())), R.w[i].squared())));
    return [roots(squared)[1], squared];
  }

  normed() {
    const { P, z, theta } = this, { R } = P, { g, B } = this.subgradient(), [polar, squared] = this.polar(g, B);
    const homogeneous = this.Lambda.n === 0n && P.mu.n === 0n, capped = polar.above(ONE) ? ONE.over(polar) : ONE;
    const worst = largest(P.free.map((j) => z[j].minus(g[j]).abs()));
    if (homogeneous) this.s = this.sigma = polar.n === 0n ? ONE : ONE.over(polar);
    else if (this.bounded) this.s = capped;
    else this.s = this.sigma = worst.n === 0n || P.mu.n === 0n ? capped : least([capped, P.mu.over(worst)]);
    this.g = g;
    const others = this.slacks((j) => this.f(j, ZERO, ZERO), (j) => this.sigma.times(z[j]).minus(this.s.times(g[j])))
      .plus(this.sigma.times(this.idle));
    const pairing = dot(g, theta), square = squareOf(P, theta);
    this.root = square;
    const aligned = !this.near && homogeneous && others.n === 0n && pairing.sign() > 0 && squared !== null && square !== null &&
      square.n !== 0n && squared.n !== 0n && pairing.squared().equals(square.times(squared));
    return aligned ? ZERO : others.plus(this.value[1]).minus(this.s.times(pairing));
  }

  count() {
    const { P } = this, { charge } = P.R, n = P.free.length;
    const forced = new Set(charge.filter((g, j) => g >= 0 && !P.isFree.has(j) && P.start[j].n !== 0n));
    const groups = [...new Set(P.free.map((j) => charge[j]).filter((g) => g >= 0 && !forced.has(g)))], members = new Map(groups.map((g) => [g, []]));
    for (const j of P.free) members.get(charge[j])?.push(j);
    const exhausted = has(this.spec, "count") ? integer(member(this.spec.count, "exhausted"), -1, groups.length - 1) : -1;
    if (exhausted >= 0) {
      const idle = P.free.filter((j) => !members.has(charge[j]));
      const q = this.kept.map((i) => dot(P.free.map((j) => P.rows[i][j]), P.free.map((j) => P.start[j])).plus(this.labels[i]));
      const rows = this.kept.map((i, at) => scaled([...P.free.map((j) => P.rows[i][j]), q[at]])); // over Z, row by row
      const column = new Map(P.free.map((j, at) => [j, rows.map((row) => row[at])])), goal = rows.map((row) => row[n]);
      const apart = P.version > 1 && has(this.spec.count, "apart") ? listing(this.spec.count.apart) : [];
      const blind = apart.map((parts) => this.blind(parts, idle, groups, members));
      for (const A of subsets(groups, exhausted)) {
        if (blind.some((own) => A.every((g) => own.has(g)))) continue;
        const columns = [...idle, ...A.flatMap((g) => members.get(g))].map((j) => column.get(j));
        const sure = rankModulo([...columns, goal]) === columns.length + 1; // rank_p <= rank
        need(sure || rank([...columns, goal]) > rank(columns), `the groups ${A} fit the constraints`);
      }
    }
    const cost = groups.map((g) => sum(members.get(g).map((j) => HALF.times(P.lam).times(P.start[j].squared()).plus(P.mu.times(P.start[j].abs())))));
    const can = groups.map((g) => !P.box || members.get(g).every((j) => P.start[j].abs().atMost(P.box)));
    const cheap = cost.filter((_, i) => can[i]).sort((a, b) => a.compare(b)), totals = [ZERO];
    for (const x of cheap) totals.push(totals[totals.length - 1].plus(x));
    const all = range(groups.length + 1).filter((i) => i > exhausted && groups.length - i < totals.length);
    return least(all.map((i) => int(i + forced.size).plus(totals[groups.length - i])));
  }

  // The groups at which a vector with <nu, q> > 0 does not pull.
  blind(parts, idle, groups, members) {
    const { P } = this, every = range(P.rhs.length), kept = new Set(this.kept);
    const listed = vec(parts, every.filter((i) => kept.has(i) || P.atLeast[i])), nu = every.map((i) => listed.get(i) ?? ZERO);
    need(nu.every((x, i) => !P.atLeast[i] || x.sign() >= 0), "a multiplier of a row that reads >= is negative");
    const z = P.pullback(nu), excess = dot(P.free.map((j) => z[j]), P.free.map((j) => P.start[j])).plus(dot(nu, this.labels));
    need(excess.sign() > 0, "a vector does not tell q from 0");
    need(idle.every((j) => z[j].n === 0n), "a vector pulls at what nobody pays for");
    return new Set(groups.filter((g) => members.get(g).every((j) => z[j].n === 0n)));
  }

  // ---------------------------------------------------------------- section 8

  // [bound of the distance, whether the minimiser is unique], as many as apply
  nearness() {
    const { P, slack } = this, { R } = P;
    this.tight = [...this.kept, ...range(P.rhs.length).filter((i) => P.atLeast[i] && this.sigma.times(this.nu[i]).sign() > 0)];
    if (R.count) return [];
    if (R.power) return this.alone ? [[ZERO, true]] : []; // no vertex is better then, and none as good
    const away = this.near ? this.near.length() : ZERO;
    const seen = R.separable ? P.start.map((_, j) => R.alpha[j].plus(R.beta[j]).sign() > 0) : R.seen;
    const every = P.free.every((j) => seen[j]), found = [];
    if (!P.free.length) return [[ZERO, true]];
    if (this.upper.n === 0n && (every || P.lam.sign() > 0 || P.mu.sign() > 0)) return [[away, true]];
    const modulus = P.lam.plus(R.separable || R.form ? least(P.free.map((j) => R.beta[j])) : ZERO), two = int(2);
    if (modulus.n !== 0n) found.push([roots(two.times(slack).over(modulus))[1], true]);
    else if (this.kappa.n !== 0n) found.push([two.times(roots(two.times(slack).over(this.kappa))[1]), slack.n === 0n]);
    else if (R.name === "l2" && every && P.mu.n === 0n) {
      const square = slack.n === 0n ? ZERO : this.upper.squared().minus(this.lower.squared());
      found.push([roots(square.over(least(P.free.map((j) => R.w[j]))))[1], true]);
    }
    if (slack.n === 0n && !this.near && this.pinned()) found.push([ZERO, true]);
    if (has(this.spec, "distance")) found.push([this.rays(this.spec.distance), slack.n === 0n]);
    if (this.near && this.near.isVertex()) found.push([ZERO, true]);
    return found.map(([bound, one]) => [bound.plus(away), one]); // all this is about theta + e
  }

  pinned() {
    const { P } = this, { R } = P, step = (j) => (R.name === "linf" && this.g[j].n !== 0n ? int(this.g[j].sign()).over(R.w[j]) : ZERO);
    const loose = P.free.filter((j) => !this.pins.get(j)), together = range(P.d).filter((j) => step(j).n !== 0n);
    const moves = loose.filter((j) => step(j).n === 0n).map((j) => [[j, ONE]]), open = new Set(loose);
    if (together.length && together.every((j) => open.has(j))) moves.push(together.map((j) => [j, step(j)]));
    if (moves.length > this.tight.length) return false;
    const columns = moves.map((move) => this.tight.map((i) => dot(move.map(([j]) => P.rows[i][j]), move.map(([, x]) => x))));
    const integral = columns.length ? range(this.tight.length).map((at) => scaled(columns.map((column) => column[at]))) : [];
    return rankModulo(columns.map((_, c) => integral.map((row) => row[c]))) === moves.length;
  }

  rays(spec) {
    const { P } = this, { R } = P, k = P.rows.length, two = int(2);
    need(R.name === "group_l2", "only groups have such a distance");
    const active = indices(member(spec, "active"), new Set(range(R.groups.length)));
    const listed = vec(member(spec, "L"), active.flatMap((_, a) => this.tight.map((i) => a * k + i).sort((x, y) => x - y)));
    const L = active.map((_, a) => range(k).map((i) => listed.get(a * k + i) ?? ZERO)), columns = new Map();
    let spread = ZERO;
    R.groups.forEach((group, label) => {
      const norm = length(group.map((j) => this.g[j])), places = group.filter((j) => P.isFree.has(j)), w = R.w[label];
      if (active.includes(label)) {
        need(norm.n !== 0n && w.n !== 0n, "an active group without a direction");
        spread = spread.plus(two.times(roots(two.times(this.slack).times(this.upper))[1]).over(w));
        columns.set(label, P.rows.map((row) => dot(places.map((j) => row[j]), places.map((j) => this.g[j])).over(norm)));
      } else if (places.length) {
        need(w.above(this.s.times(norm)), "a group may be active that is not listed as such");
        spread = spread.plus(two.times(this.slack).over(w.minus(this.s.times(norm))));
      }
    });
    const errors = L.flatMap((row, a) => active.map((label, b) => dot(row, columns.get(label)).minus(a === b ? ONE : ZERO)));
    const error = length(errors), size = roots(sum(P.rows.flatMap((row) => P.free.map((j) => row[j].squared()))))[1];
    need(ONE.above(error), "L is no left inverse");
    const open = sum(this.tight.filter((i) => P.atLeast[i]).map((i) => this.slack.over(this.sigma.times(this.nu[i]))));
    return spread.plus(length(L.flat()).times(size.times(spread).plus(open)).over(ONE.minus(error)));
  }

  // ---------------------------------------------------------------- section 7

  robust(tau) {
    const { P } = this;
    if (P.R.count || (P.R.power && P.free.length)) return ZERO;
    if (!P.free.length) return this.lower;
    const moved = dot(this.nu, this.labels.map((b, i) => b.minus(P.rhs[i]))), size = sum(this.nu.map((x) => x.abs()));
    return largest([this.below.minus(this.sigma.times(moved.plus(tau.times(size))))]);
  }
}

// ---------------------------------------------------------------- values

// [R(theta) from below, from above]
export function regularizer(P, theta, factors) {
  const { R } = P;
  if (R.form) return formValue(R, theta, factors);
  if (R.power) return powers(theta, R.power);
  if (R.separable) {
    const v = sum(theta.map((x, j) => R.alpha[j].times(x.abs()))).plus(HALF.times(sum(theta.map((x, j) => R.beta[j].times(x.squared())))));
    return [v, v];
  }
  if (R.name === "linf") { const v = largest(theta.map((x, j) => R.w[j].times(x.abs()))); return [v, v]; }
  if (R.name === "group_l2") {
    const each = R.groups.map((g, i) => roots(sum(g.map((j) => theta[j].squared())).times(R.w[i].squared())));
    return [sum(each.map((x) => x[0])), sum(each.map((x) => x[1]))];
  }
  if (R.name === "nuclear_norm") { const v = nuclearAbove(R, theta, factors); return [v, v]; }
  if (!R.count) return roots(squareOf(P, theta));
  const used = new Set(theta.flatMap((x, j) => (x.n !== 0n && R.charge[j] >= 0 ? [R.charge[j]] : [])));
  return [int(used.size), int(used.size)];
}

// R(theta)^2 where that is rational, or null
function squareOf(P, theta) {
  const { R } = P;
  if (R.name === "l2") return sum(theta.map((x, j) => R.w[j].times(x.squared())));
  if (R.name === "predictor_norm") return sum(predictor(R, theta).map((x) => x.squared()));
  if (R.name === "linf") return largest(theta.map((x, j) => R.w[j].times(x.abs()))).squared();
  if (R.name !== "group_l2" || R.groups.length > 1) return null;
  return R.groups.length ? sum(R.groups[0].map((j) => theta[j].squared())).times(R.w[0].squared()) : ZERO;
}

// A^T V, row-major (m, l)
export function predictor(R, theta) {
  const rows = range(R.h);
  return range(R.m * R.l).map((at) => dot(rows.map((a) => theta[R.start + a * R.m + Math.floor(at / R.l)]), rows.map((a) => R.V[a * R.l + (at % R.l)])));
}

// ---------------------------------------------------------------- the verdict

export function check(problemTree, certificate, tau = null) {
  return judge(new Problem(problemTree), certificate, tau);
}

function judge(P, certificate, tau) {
  const proof = new Proof(P, certificate), claims = member(certificate, "claims"), kind = member(certificate, "kind");
  if (P.origin) P.origin.verify(P, certificate);
  need(isObject(claims), "claims is no object");
  need(kind === "bounds" || kind === "infeasible", "unknown kind");
  if (kind === "infeasible") return infeasible(proof, claims, tau);
  proof.place();
  proof.bound();
  const near = proof.nearness(), { lower, upper } = proof, exact = proof.slack.n === 0n || upper.n === 0n;
  const gap = exact ? ZERO : upper.minus(lower).over(upper), distances = near.map((x) => x[0]), unique = near.some((x) => x[1]);
  const level = exact ? "exact" : gap.atMost(new Q(1n, 10n ** 30n)) ? "enclosure" : "repaired";
  const square = exact && proof.drift.n === 0n ? proof.root : null, distance = distances.length ? least(distances) : null;
  const claimed = member(claims, "proof"), own = { lower, upper, gap, square, distance };
  need(LEVELS.includes(claimed) && LEVELS.indexOf(claimed) <= LEVELS.indexOf(level), `not ${String(claimed)}, but ${level}`);
  need([undefined, null, false, true].includes(claims.unique) && (unique || !claims.unique), "claims a unique minimiser");
  for (const [name, fair] of [["lower", (c, x) => c.atMost(x)], ["upper", (c, x) => x.atMost(c)], ["gap", (c, x) => x.atMost(c)],
    ["distance", (c, x) => x.atMost(c)], ["square", (c, x) => x.equals(c)]]) {
    if (claims[name] === undefined || claims[name] === null) continue;
    need(fair(parse(claims[name]), own[name] ?? fail(name)), `claims more than is proved: ${name}`);
  }
  const neurons = P.origin && proof.literal ? P.origin.neurons(proof.near ? proof.theta.map((x, j) => proof.near.enlarged(x, j)) : proof.theta) : null;
  if (claims.neurons !== undefined && claims.neurons !== null) {
    need(neurons !== null && integer(claims.neurons, 0, Number.MAX_SAFE_INTEGER) >= neurons, "claims more than is proved: neurons");
  }
  const found = { proved: true, proof: level, unique, ...own, neurons };
  if (proof.literal) return found;
  const needed = largest([proof.tau, proof.error]), accepted = tau !== null && needed.atMost(tau);
  return { ...found, proved: accepted, residual: proof.error, robust_lower: proof.robust(tau ?? needed) };
}
const fail = (name) => { throw new Error(`claims ${name}, of which nothing is proved`); };

function infeasible(proof, claims, tau) {
  const { P, nu } = proof, z = P.free.map((j) => proof.z[j]), reach = [];
  need(proof.labels.every((b, i) => b.equals(P.rhs[i])), "a refutation is about b as written");
  if (z.every((x) => x.n === 0n)) reach.push(ZERO);
  if (P.box) reach.push(P.box.times(sum(z.map((x) => x.abs()))));
  if (P.rho) reach.push(P.rho.times(length(z)));
  const excess = reach.length ? dot(nu, P.rhs).minus(least(reach)) : ZERO;
  need(excess.sign() > 0, "the vector proves nothing");
  need(claims.proof === "infeasible", "something else is claimed");
  need(["lower", "upper", "gap", "square", "unique", "distance", "neurons"].every((key) => [undefined, null, false].includes(claims[key])), "more is claimed");
  const residual = excess.over(sum(nu.map((x) => x.abs())));
  return { proved: tau === null || residual.above(tau), proof: "infeasible", unique: false, residual };
}

// ---------------------------------------------------------------- for a caller

const text = (x) => (x instanceof Q ? (x.d === 1n ? x.n.toString(16) : `${x.n.toString(16)}/${x.d.toString(16)}`) : x ?? null);

// status: 0 proved, 1 not, 2 the problem cannot be used, 3 proved for the embedded problem or by no tau of the caller
export function answer(problem, certificate, tau) {
  work.left = BASE;
  let P = null;
  try {
    if (problem !== null) P = new Problem(problem());
  } catch (error) {
    return { status: 2, sentence: `the problem cannot be used: ${error.message}` };
  }
  try {
    const tree = certificate();
    expectSchema(tree, "exact-unlearn/certificate");
    if (P === null) work.left = BASE;
    const found = judge(P ?? new Problem(member(tree, "problem")), tree, tau), proved = found.proved && P !== null;
    const told = Object.fromEntries(Object.entries(found).map(([key, x]) => [key, text(x)]));
    return { status: proved ? 0 : 3, sentence: `proved: ${found.proof}`, ...told, proved };
  } catch (error) {
    return { status: 1, sentence: `not proved: ${error.message}` };
  }
}
