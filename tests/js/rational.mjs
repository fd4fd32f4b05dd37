// Exact rational arithmetic on BigInt, and what of linear algebra the checker needs.

const gcd = (a, b) => { while (b) [a, b] = [b, a % b]; return a < 0n ? -a : a; };

export class Q {
  constructor(n, d = 1n) {
    if (d === 0n) throw new Error("division by zero");
    if (d !== 1n) {
      const g = gcd(n, d), s = d < 0n ? -1n : 1n;
      n = s * n / g; d = s * d / g;
    }
    this.n = n; this.d = d;
  }
  plus(o) { return this.d === o.d ? new Q(this.n + o.n, this.d) : new Q(this.n * o.d + o.n * this.d, this.d * o.d); }
  minus(o) { return this.plus(o.negated()); }
  times(o) { return new Q(this.n * o.n, this.d * o.d); }
  over(o) { return new Q(this.n * o.d, this.d * o.n); }
  negated() { const q = new Q(0n); q.n = -this.n; q.d = this.d; return q; }
  abs() { return this.n < 0n ? this.negated() : this; }
  sign() { return this.n > 0n ? 1 : this.n < 0n ? -1 : 0; }
  compare(o) { const x = this.n * o.d - o.n * this.d; return x > 0n ? 1 : x < 0n ? -1 : 0; }
  equals(o) { return this.n === o.n && this.d === o.d; }
  above(o) { return this.compare(o) > 0; }
  atMost(o) { return this.compare(o) <= 0; }
  squared() { return this.times(this); }
}

export const ZERO = new Q(0n), ONE = new Q(1n), HALF = new Q(1n, 2n);
export const int = (x) => new Q(BigInt(x));
export const sum = (list) => list.reduce((a, b) => a.plus(b), ZERO);
export const dot = (a, b) => sum(a.map((x, i) => (x.n === 0n || b[i].n === 0n ? ZERO : x.times(b[i]))));
export const least = (list) => list.reduce((a, b) => (a.atMost(b) ? a : b));
export const largest = (list, start = ZERO) => list.reduce((a, b) => (b.above(a) ? b : a), start);

// "-1f/8" -> -31/8
export function parse(text) {
  const match = /^(-?)([0-9a-f]{1,65536})(?:\/([0-9a-f]{1,65536}))?$/.exec(text);
  if (!match) throw new Error(`expected a number such as '-1f/8', found ${String(text).slice(0, 40)}`);
  const n = BigInt("0x" + match[2]);
  return new Q(match[1] ? -n : n, match[3] ? BigInt("0x" + match[3]) : 1n);
}

// The dyadic rational that a float is.
const view = new DataView(new ArrayBuffer(8));
export function fromFloat(x) {
  if (!Number.isFinite(x)) throw new Error("a number is not finite");
  view.setFloat64(0, x);
  const bits = view.getBigUint64(0), power = Number((bits >> 52n) & 0x7ffn), fraction = bits & 0xfffffffffffffn;
  const mantissa = power ? fraction | (1n << 52n) : fraction, shift = (power || 1) - 1075;
  const n = bits >> 63n ? -mantissa : mantissa;
  return shift >= 0 ? new Q(n << BigInt(shift)) : new Q(n, 1n << BigInt(-shift));
}

function isqrt(n) {
  if (n < 2n) return n;
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (;;) {
    const y = (x + n / x) >> 1n;
    if (y >= x) return x;
    x = y;
  }
}

const BITS = 400n;

// [lower, upper] of the square root; equal for squares of rationals.
export function roots(x) {
  const n = isqrt(x.n), d = isqrt(x.d);
  if (n * n === x.n && d * d === x.d) return [new Q(n, d), new Q(n, d)];
  const size = BigInt(x.d.toString(2).length - x.n.toString(2).length) / 2n + BITS, shift = size > 0n ? size : 0n;
  const root = isqrt((x.n << (2n * shift)) / x.d);
  return [new Q(root, 1n << shift), new Q(root + 1n, 1n << shift)];
}

// Rank over the rationals, by elimination on Fractions.
export function rank(rows) {
  const M = rows.map((row) => row.slice());
  let found = 0;
  for (let c = 0; M.length && c < M[0].length; c++) {
    const at = M.findIndex((row, i) => i >= found && row[c].n !== 0n);
    if (at < 0) continue;
    [M[found], M[at]] = [M[at], M[found]];
    for (let i = found + 1; i < M.length; i++) {
      if (M[i][c].n === 0n) continue;
      const f = M[i][c].over(M[found][c]);
      M[i] = M[i].map((x, j) => (j < c ? x : x.minus(f.times(M[found][j]))));
    }
    found++;
  }
  return found;
}

// Whether a symmetric matrix is positive semidefinite: exact LDL^T.
export function isPsd(matrix) {
  const M = matrix.map((row) => row.slice());
  for (let k = 0; k < M.length; k++) {
    if (M[k][k].sign() < 0) return false;
    if (M[k][k].n === 0n) {
      if (M[k].some((x, j) => j > k && x.n !== 0n)) return false;
      continue;
    }
    for (let i = k + 1; i < M.length; i++) {
      const f = M[i][k].over(M[k][k]);
      for (let j = k; j < M.length; j++) M[i][j] = M[i][j].minus(f.times(M[k][j]));
    }
  }
  return true;
}

export function* subsets(list, size, start = 0) {
  if (size === 0) { yield []; return; }
  for (let i = start; i <= list.length - size; i++) for (const rest of subsets(list, size - 1, i + 1)) yield [list[i], ...rest];
}
