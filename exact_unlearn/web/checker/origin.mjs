// Section 11: the exact problem of a two-layer network, and that its convex program leaves no cell out.

import { array, integer, listing, member, range, real, sizes, vec } from "./problem.mjs";
import { ONE, ZERO, dot, need, work } from "./rational.mjs";

const SLOPES = new Map([["relu", ZERO], ["abs", ONE.negated()], ["leaky_relu", null]]);

export function readOrigin(spec) {
  const kind = member(spec, "kind");
  need(kind === "two_layer" || kind === "predictor", "unknown kind of origin");
  return kind === "two_layer" ? new TwoLayer(spec) : new Predictor(spec);
}

// All is free, theta* is 0, nothing else is penalised.
function bare(P, d) {
  need(P.free.length === d && P.start.every((v) => v.n === 0n), "all is free, and theta* is 0");
  need(P.lam.n === 0n && P.mu.n === 0n && P.rho === null && P.box === null, "there is no drift penalty");
}
const same = (row, at, own) => need(row.every((v, j) => v.equals(own[j])), `row ${at} is not that of the origin`);
const ones = (list) => list.every((w) => w.equals(ONE));

class TwoLayer {
  constructor(spec) {
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

  verify(P, certificate) {
    this.program(P, this.patterns(member(certificate, "tree")));
  }

  program(P, patterns) {
    const { m, x, y, live } = this, n = x.length;
    const dead = (s) => this.slope.n === 0n && s.size > 0 && [...s.values()].every((v) => v < 0);
    const used = patterns.filter((s) => !dead(s)), d = 2 * used.length * m, k = n + 2 * used.length * live.length;
    need(P.d === d && P.rhs.length === k && P.atLeast.every((flag, i) => flag === i >= n), "the problem does not have the shape of its origin");
    bare(P, d);
    need(P.rhs.every((b, i) => b.equals(i < n ? y[i] : ZERO)), "other labels than those of the origin");
    const { R } = P;
    const grouped = R.name === "group_l2" && ones(R.w) && R.labels.every((g, j) => g === Math.floor(j / m));
    need(this.R === "squared" ? grouped : R.name === "l1" && ones(R.alpha), "another regularizer than that of the origin");
    work.spend(100 * k * d);
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

class Predictor {
  constructor(spec) {
    this.model = member(spec, "model");
    this.R = member(spec, "R");
    const widths = listing(member(spec, "widths")).map((w) => integer(w, 1, Number.MAX_SAFE_INTEGER));
    need(widths.length > 1, "a network has two widths or more");
    const depth = widths.length - 1, m = widths[0], l = widths[depth];
    Object.assign(this, { depth, m, l });
    const fits = {
      linear: depth === 1, linear_network: true, square: depth === 2 && l === 1,
      diagonal: l === 1 && widths.slice(0, depth).every((w) => w === m),
    };
    need(typeof this.model === "string" && Object.hasOwn(fits, this.model) && fits[this.model], "no model has these widths");
    this.name = this.objective();
    need(this.name !== null, "the exact problem of this network is neither convex nor concave in its predictor");
    const [n, columns] = sizes(member(member(spec, "x"), "shape"), 2);
    need(columns === m, "samples have not as many entries as the first width");
    const flat = array(spec.x, n, m);
    this.y = array(member(spec, "y"), n, l);
    this.x = range(n).map((i) => flat.slice(i * m, (i + 1) * m));
  }

  // The least R of all networks with a predictor, as a regularizer of the predictor.
  objective() {
    const { model, R, depth, l } = this;
    if ((model === "square") !== (R === "nuclear")) return null;
    if (R === "nuclear") return "nuclear_norm";
    if (R === "path") return "l1";
    if (R !== "squared") return null;
    if (depth === 1) return "squared_l2";
    if (model === "diagonal") return depth === 2 ? "l1" : "power_sum";
    if (l === 1) return "l2";
    return depth === 2 ? "nuclear_norm" : null;
  }

  verify(P) {
    const square = this.model === "square", { m, x, y, name } = this, l = square ? 1 : this.l, p = square ? m : l;
    const d = p * m, k = x.length * l, { R } = P;
    need(P.d === d && P.rhs.length === k && !P.atLeast.includes(true), "the problem does not have the shape of its origin");
    bare(P, d);
    need(P.rhs.every((b, i) => b.equals(y[i])), "other labels than those of the origin");
    const norm = { squared_l2: R.beta, l1: R.alpha, l2: R.w, nuclear_norm: [], power_sum: [] };
    const whole = name !== "nuclear_norm" || (R.p === p && R.q === m && R.indices.every((j, i) => j === i));
    need(R.name === name && whole && ones(norm[name]) && (!R.power || R.power === this.depth), "another regularizer than that of the origin");
    work.spend(100 * k * d);
    x.forEach((sample, i) => {
      if (square) same(P.rows[i], i, sample.flatMap((a) => sample.map((b) => a.times(b))));
      else range(l).forEach((o) => {
        const own = Array(d).fill(ZERO);
        sample.forEach((v, j) => { own[o * m + j] = v; });
        same(P.rows[i * l + o], i * l + o, own);
      });
    });
  }

  // How many per hidden layer are enough.
  neurons() {
    return { linear: 0, diagonal: 0, linear_network: Math.min(this.m, this.l), square: this.m }[this.model];
  }
}
