// A feasible point next to the one that a certificate lists (docs/certificate_format.md, section 4.1).

import { ONE, PER_DIGIT, Q, ZERO, bits, dot, isqrt, need, roots, scaled, sum, work } from "./rational.mjs";
import { has, indices, integer, listing, member, range, vec } from "./problem.mjs";

export const shifted = (n, by) => (by >= 0 ? n << BigInt(by) : n >> BigInt(-by)); // floor(n 2^by)
const floor = (n, d) => { const q = n / d; return n < 0n && q * d !== n ? q - 1n : q; }; // of n/d, d > 0

const power = (k) => (k >= 0 ? new Q(1n << BigInt(k)) : new Q(1n, 1n << BigInt(-k))); // 2^k

export class Near {
  constructor(proof, spec) {
    const { P } = proof, every = range(P.rhs.length), kept = new Set(proof.kept);
    this.proof = proof;
    this.columns = indices(member(spec, "columns"), P.isFree);
    this.rows = indices(member(spec, "rows"), new Set(every.filter((i) => kept.has(i) || P.atLeast[i])));
    need(this.rows.length === this.columns.length, "there are not as many rows as columns");
    this.digits = integer(member(spec, "digits"), 0, 1 << 14);
    this.width = integer(member(spec, "width"), 1, 6);
    this.t = integer(member(spec, "scale"), 0, 128);
    this.solved = new Set([...this.rows, ...this.implied(has(spec, "implied") ? listing(spec.implied) : [])]);
    this.invert(listing(member(spec, "inverse")));
  }

  implied(list) {
    const { proof } = this, { P } = proof;
    return list.map((item) => {
      const i = integer(member(item, "row"), 0, P.rhs.length - 1), of = [...vec(member(item, "of"), this.rows)], own = of.map(([, x]) => x);
      const same = P.free.every((j) => dot(own, of.map(([k]) => P.rows[k][j])).equals(P.rows[i][j]));
      need(same && dot(own, of.map(([k]) => proof.labels[k])).equals(proof.labels[i]), `row ${i} is not implied by the others`);
      return i;
    });
  }

  // rho, gamma, |Lambda_j|, and 1 - delta
  invert(texts) {
    const { P } = this.proof, { width, t } = this, r = this.rows.length, w = 8 * width, c = w + 4;
    need(texts.length === r, "the inverse has not as many rows as there are columns");
    const slot = 2 * (Math.floor((w + c + r.toString(2).length) / 8) + 1), half = 1n << BigInt(w - 1), wide = 1n << BigInt(4 * slot - 1);
    work.spend(r * r * (1500 + 4 * r * slot));
    const pack = (row) => row.reduceRight((text, x) => text + (x + wide).toString(16).padStart(slot, "0"), "0x0");
    const halves = BigInt(pack(Array(r).fill(0n)));
    const Lambda = texts.map((text) => {
      need(typeof text === "string" && text.length === 2 * width * r && /^[0-9a-f]*$/.test(text), "a row of the inverse is no text of its size");
      work.left += PER_DIGIT * text.length;
      return range(r).map((a) => BigInt("0x" + text.slice(2 * width * a, 2 * width * (a + 1))) - half);
    });
    const packed = Lambda.map((row) => BigInt(pack(row)) - halves), squares = Lambda.map((row) => row.reduce((s, x) => s + x * x, 0n));
    const whole = this.rows.map((i) => scaled([...P.free.map((j) => P.rows[i][j]), ONE]).map((x) => x.n)), at = new Map(P.free.map((j, k) => [j, k]));
    this.dens = whole.map((row) => row[row.length - 1]); // rows are integers over these
    this.longest = whole.map((row) => Math.max(...row.slice(0, -1).map(bits)));
    const C = whole.map((row) => this.columns.map((j) => row[at.get(j)]));
    this.rho = C.map((row) => Math.max(...row.map(bits)));
    this.gamma = this.columns.map((_, b) => Math.max(...C.map((row, a) => (row[b] === 0n ? -Infinity : bits(row[b]) - this.rho[a]))));
    need(this.rho.every((x) => x > 0) && this.gamma.every((x) => x > -Infinity), "a row or column is 0");
    const one = 1n << BigInt(c + t);
    let missing = 0n;
    C.forEach((row, a) => {
      const cut = row.map((n, b) => shifted(n, c - this.rho[a] - this.gamma[b]));
      const product = cut.reduce((s, n, b) => s + n * packed[b], halves).toString(16).padStart(slot * r, "0");
      for (let k = 0; k < r; k++) {
        const found = BigInt("0x" + product.slice(slot * (r - 1 - k), slot * (r - k))) - wide - (k === a ? one : 0n);
        missing += found * found;
      }
    });
    const delta = isqrt(missing) + 1n + BigInt(r) * (isqrt(squares.reduce((s, x) => s + x, 0n)) + 1n);
    need(r === 0 || delta < one, "the inverse is none");
    this.lengths = squares.map((s) => isqrt(s) + 1n);
    this.rest = r === 0 ? ONE : new Q(one - delta, one);
  }

  rounded(x) {
    return new Q(floor(x.n << BigInt(this.digits), x.d), 1n << BigInt(this.digits));
  }

  // The radii eps, of the excess J D - b-hat in every row; <nu, J D - b-hat>.
  settle(excess) {
    const { proof, rows } = this, fine = this.digits + 64, unit = 1n << BigInt(fine);
    const own = rows.map((i, a) => excess[i].times(new Q(this.dens[a], 1n << BigInt(this.rho[a]))));
    const reach = roots(dot(own, own))[1].over(this.rest);
    this.eps = new Map(this.columns.map((j, b) =>
      [j, new Q(-floor(shifted(-reach.n * this.lengths[b], fine - this.t - this.gamma[b]), reach.d), unit)]));
    return dot(proof.nu, proof.nu.map((x, i) => (x.n === 0n ? ZERO : excess[i])));
  }

  // How far e may move J_i D.
  shift(i) {
    return sum([...this.eps].map(([j, eps]) => this.proof.P.rows[i][j].abs().times(eps)));
  }

  enlarged(x, j) {
    return x.abs().plus(this.eps.get(j) ?? ZERO);
  }

  // (8.6)
  isVertex() {
    const { proof, columns, rows } = this, { P } = proof, { R } = P, inside = new Set(columns);
    if (R.name !== "l1" || proof.Lambda.n !== 0n || P.mu.n !== 0n || P.box || P.atLeast.some((x) => x)) return false;
    if (!columns.every((j) => proof.theta[j].abs().above(this.eps.get(j)))) return false;
    if (P.free.some((j) => !inside.has(j) && proof.theta[j].n !== 0n)) return false;
    const pull = (j) => R.alpha[j].times(new Q(BigInt(proof.theta[j].sign()))).minus(proof.sigma.times(proof.z[j])).abs();
    const missed = sum(columns.map((j, b) => pull(j).times(new Q(this.lengths[b])).times(power(-this.gamma[b] - this.t))));
    const room = missed.over(this.rest).times(sum(rows.map((_, a) => power(this.longest[a] - this.rho[a]))));
    return P.free.every((j) => inside.has(j) || R.alpha[j].above(proof.sigma.times(proof.z[j]).abs().plus(room)));
  }

  length() {
    const own = [...this.eps.values()];
    return roots(dot(own, own))[1];
  }
}

