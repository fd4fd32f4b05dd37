// Section 11: the exact problem of a two-layer network, and that its convex program leaves no cell out.

import { array, integer, listing, member, range, real, sizes, vec } from "./problem.mjs";
import { ONE, ZERO, dot, need, work } from "./rational.mjs";

const SLOPES = new Map([["relu", ZERO], ["abs", ONE.negated()], ["leaky_relu", null]]);

export function readOrigin(spec) {
  return new TwoLayer(spec);
}

class TwoLayer {
  constructor(spec) {
    need(member(spec, "kind") === "two_layer", "unknown kind of origin");
    const own = SLOPES.get(member(spec, "activation"));
    need(own !== undefined, "unknown activation");
    this.slope = real(member(spec, "slope"));
    need(own === null || own.equals(this.slope), "the slope is not that of the activation");
    this.width = integer(member(spec, "width"), 1, Number.MAX_SAFE_INTEGER);
    this.R = member(spec, "R");
    need(this.R === "squared" || this.R === "path", "unknown measure of a network");
    const [n, m] = sizes(member(member(spec, "x"), "shape"), 2);
    need(m > 0, "samples have no entries");
    const flat = array(spec.x, n, m);
    this.y = array(member(spec, "y"), n);
    this.m = m;
    this.x = range(n).map((i) => flat.slice(i * m, (i + 1) * m));
    this.live = range(n).filter((i) => this.x[i].some((v) => v.n !== 0n));
    this.isLive = new Set(this.live);
  }

  // Signs at the leaves, as maps from samples to 1 and -1.
  patterns(tree) {
    const halved = this.slope.equals(ONE.negated()) && this.live.length > 0, leaves = [];
    const open = [halved ? new Map([[this.live[0], 1]]) : new Map()];
    for (const node of listing(tree)) {
      need(open.length > 0, "the tree goes on after its end");
      const signs = open.pop();
      work.spend(300 + 600 * this.live.length);
      if (node === null) {
        need(signs.size === this.live.length, "a leaf leaves a sign open");
        leaves.push(signs);
      } else if (typeof node === "number") {
        need(this.isLive.has(node) && !signs.has(node), "the tree divides by a sample that is 0, or twice");
        open.push(new Map(signs).set(node, -1), new Map(signs).set(node, 1));
      } else this.cut(node, signs);
    }
    need(open.length === 0, "the tree ends before all its branches do");
    need(leaves.length > 0, "the tree has no leaf");
    return leaves;
  }

  cut(node, signs) {
    const listed = vec(node, [...signs.keys()].sort((a, b) => a - b)), weights = [...listed];
    need(weights.every(([, w]) => w.sign() >= 0) && weights.some(([, w]) => w.sign() > 0), "weights are negative, or all 0");
    const signed = weights.map(([i, w]) => (signs.get(i) > 0 ? w : w.negated()));
    for (let c = 0; c < this.m; c++) {
      need(dot(signed, weights.map(([i]) => this.x[i][c])).n === 0n, "a branch is cut where cells may be");
    }
  }

  program(P, patterns) {
    const { m, x, y, live } = this, n = x.length;
    const dead = (s) => this.slope.n === 0n && s.size > 0 && [...s.values()].every((v) => v < 0);
    const used = patterns.filter((s) => !dead(s)), d = 2 * used.length * m, k = n + 2 * used.length * live.length;
    need(P.d === d && P.rhs.length === k && P.atLeast.every((flag, i) => flag === i >= n), "the problem does not have the shape of its origin");
    need(P.free.length === d && P.start.every((v) => v.n === 0n), "all is free, and theta* is 0");
    need(P.lam.n === 0n && P.mu.n === 0n && P.rho === null && P.box === null, "there is no drift penalty");
    need(P.rhs.every((b, i) => b.equals(i < n ? y[i] : ZERO)), "other labels than those of the origin");
    const { R } = P, ones = (list) => list.every((w) => w.equals(ONE));
    const grouped = R.name === "group_l2" && ones(R.w) && R.labels.every((g, j) => g === Math.floor(j / m));
    need(this.R === "squared" ? grouped : R.name === "l1" && ones(R.alpha), "another regularizer than that of the origin");
    work.spend(100 * k * d);
    const same = (row, at, own) => need(row.every((v, j) => v.equals(own[j])), `row ${at} is not that of the origin`);
    const below = x.map((row) => row.map((v) => this.slope.times(v)));
    for (let i = 0; i < n; i++) {
      same(P.rows[i], i, used.flatMap((s) => {
        const own = s.get(i) > 0 ? x[i] : below[i];
        return [...own, ...own.map((v) => v.negated())];
      }));
    }
    let at = n;
    for (let block = 0; block < 2 * used.length; block++) {
      for (const i of live) {
        const own = Array(d).fill(ZERO), s = used[block >> 1].get(i);
        for (let c = 0; c < m; c++) own[block * m + c] = s > 0 ? x[i][c] : x[i][c].negated();
        same(P.rows[at], at, own);
        at++;
      }
    }
  }

  // How many neurons are enough.
  neurons(theta) {
    const blocks = range(theta.length / this.m).filter((b) => theta.slice(b * this.m, (b + 1) * this.m).some((v) => v.n !== 0n));
    return Math.min(blocks.length, this.live.length);
  }
}
