// Exact rational arithmetic on BigInt, what of linear algebra the checker needs, and what it may cost.

export const BASE = 5e9, PER_DIGIT = 3000, PER_ENTRY = 12000; // nanoseconds: in all, per digit, per array entry
export const ROOT = 400; // bits of roots
const MAX_BITS = 1 << 19, FINE = 4096n, P61 = (1n << 61n) - 1n;

export function need(truth, sentence) {
  if (!truth) throw new Error(sentence);
}

// Work that is left; reading earns it, arithmetic spends it, and a check that would take more than its size allows stops.
export const work = {
  left: Infinity,
  spend(nanoseconds) {
    this.left -= nanoseconds;
    need(this.left >= 0, "refused: checking it takes more work than its size allows");
  },
};

export const bits = (n) => { const text = (n < 0n ? -n : n).toString(16); return n === 0n ? 0 : 4 * (text.length - 1) + parseInt(text[0], 16).toString(2).length; };
export const word = (n) => (n <= 0xffffffffffffffffn && n >= -0xffffffffffffffffn ? 1 : n.toString(16).length / 16);

// Euclid's algorithm takes a step per 1.7 bits of the smaller number.
function gcd(a, b) {
  if (a < 0n) a = -a;
  const x = word(a), y = word(b);
  work.spend(300 + 60 * Math.max(x, y) + 38 * Math.min(x, y) * (100 + 4 * Math.min(x, y)));
  while (b) [a, b] = [b, a % b];
  return a;
}

export class Q {
  constructor(n, d = 1n) {
    if (d === 0n) throw new Error("division by zero");
    if (d !== 1n) {
      const g = gcd(n, d < 0n ? -d : d), s = d < 0n ? -1n : 1n;
      if (g !== 1n || s < 0n) { n = s * n / g; d = s * d / g; }
    } else work.spend(200 + 20 * word(n));
    this.n = n; this.d = d;
  }
  plus(o) { return this.n === 0n ? o : o.n === 0n ? this : this.d === o.d ? new Q(this.n + o.n, this.d) : new Q(this.n * o.d + o.n * this.d, this.d * o.d); }
  minus(o) { return this.plus(o.negated()); }
  times(o) { return this.n === 0n || o.n === 0n ? ZERO : o === ONE ? this : this === ONE ? o : new Q(this.n * o.n, this.d * o.d); }
  over(o) { return new Q(this.n * o.d, this.d * o.n); }
  negated() { const q = Object.create(Q.prototype); q.n = -this.n; q.d = this.d; return q; }
  abs() { return this.n < 0n ? this.negated() : this; }
  sign() { return this.n > 0n ? 1 : this.n < 0n ? -1 : 0; }
  compare(o) {
    work.spend(200 + 8 * word(this.n) * word(o.d) + 8 * word(o.n) * word(this.d));
    const x = this.n * o.d - o.n * this.d;
    return x > 0n ? 1 : x < 0n ? -1 : 0;
  }
  equals(o) { return this.n === o.n && this.d === o.d; }
  above(o) { return this.compare(o) > 0; }
  atMost(o) { return this.compare(o) <= 0; }
  squared() { return this.times(this); }
  // the least multiple of 2^-4096 that is not below
  roundedUp() { return new Q(-((-this.n << FINE) / this.d - ((-this.n << FINE) % this.d < 0n ? 1n : 0n)), 1n << FINE); }
}

export const ZERO = new Q(0n), ONE = new Q(1n), HALF = new Q(1n, 2n);
export const int = (x) => new Q(BigInt(x));
export const least = (list) => list.reduce((a, b) => (a.atMost(b) ? a : b));
export const largest = (list, start = ZERO) => list.reduce((a, b) => (b.above(a) ? b : a), start);

// Sums over a common denominator, which costs one greatest common divisor and not one for each summand.
export function sum(list) {
  const by = new Map();
  for (const x of list) if (x.n !== 0n) by.set(x.d, (by.get(x.d) ?? 0n) + x.n);
  if (by.size === 0) return ZERO;
  let den = 1n, total = 0n;
  for (const d of by.keys()) {
    if (den % d !== 0n) den = den / gcd(den, d) * d;
    work.spend(300 + 200 * word(den));
    need(bits(den) <= MAX_BITS, "a common denominator is too large");
  }
  for (const [d, n] of by) { work.spend(200 + 8 * word(n) * word(den)); total += n * (den / d); }
  return new Q(total, den);
}

// Inner products, unreduced until the end.
export function dot(a, b) {
  const by = new Map();
  for (let i = 0; i < a.length; i++) {
    if (a[i].n === 0n || b[i].n === 0n) continue;
    work.spend(300 + 8 * word(a[i].n) * word(b[i].n) + 8 * word(a[i].d) * word(b[i].d));
    const d = a[i].d * b[i].d;
    by.set(d, (by.get(d) ?? 0n) + a[i].n * b[i].n);
  }
  return sum([...by].map(([d, n]) => ({ n, d })));
}

// [-31n, 8n] of "-1f/8"
export function ratio(text) {
  need(typeof text === "string", "expected a number such as '-1f/8'");
  const match = /^(-?)([0-9a-f]{1,65536})(?:\/([0-9a-f]{1,65536}))?$/.exec(text);
  need(match, `expected a number such as '-1f/8', found ${text.slice(0, 40)}`);
  work.left += PER_DIGIT * text.length;
  const n = BigInt("0x" + match[2]), d = match[3] ? BigInt("0x" + match[3]) : 1n;
  need(d !== 0n, "a denominator is zero");
  return [match[1] ? -n : n, d];
}
export const parse = (text) => new Q(...ratio(text));

// The dyadic rational that a float is.
const view = new DataView(new ArrayBuffer(8));
export function fromFloat(x) {
  if (!Number.isFinite(x)) throw new Error("a number is not finite");
  view.setFloat64(0, x);
  const raw = view.getBigUint64(0), power = Number((raw >> 52n) & 0x7ffn), fraction = raw & 0xfffffffffffffn;
  const mantissa = power ? fraction | (1n << 52n) : fraction, shift = (power || 1) - 1075;
  const n = raw >> 63n ? -mantissa : mantissa;
  return shift >= 0 ? new Q(n << BigInt(shift)) : new Q(n, 1n << BigInt(-shift));
}

export function isqrt(n) {
  if (n < 2n) return n;
  let x = 1n << BigInt((bits(n) + 1) >> 1);
  for (;;) {
    work.spend(300 + 20 * word(n) ** 2);
    const y = (x + n / x) >> 1n;
    if (y >= x) return x;
    x = y;
  }
}

// [lower, upper] of the square root; equal for squares of rationals.
export function roots(x) {
  const n = isqrt(x.n), d = isqrt(x.d);
  if (n * n === x.n && d * d === x.d) return [new Q(n, d), new Q(n, d)];
  const shift = BigInt(Math.max(0, ROOT + Math.floor((bits(x.d) - bits(x.n)) / 2)));
  const root = isqrt((x.n << (2n * shift)) / x.d);
  return [new Q(root, 1n << shift), new Q(root + 1n, 1n << shift)];
}

const mod = (x) => { const r = x % P61; return r < 0n ? r + P61 : r; };
function inverse(a) {
  let [r, s, x, y] = [P61, a, 0n, 1n];
  while (s) { const q = r / s; [r, s, x, y] = [s, r - q * s, y, x - q * y]; }
  return mod(x);
}

// The rank modulo 2^61 - 1 of vectors of rationals, each scaled to integers; never above the rank over the rationals.
export function rankModulo(vectors) {
  const found = [];
  for (const vector of vectors) {
    let v = vector.map((x) => mod(x.n));
    for (const [at, top] of found) {
      const c = v[at];
      work.spend(400 * v.length);
      if (c) v = v.map((x, i) => mod(x - c * top[i]));
    }
    const at = v.findIndex((x) => x !== 0n);
    if (at >= 0) { const c = inverse(v[at]); found.push([at, v.map((x) => mod(x * c))]); }
  }
  return found.length;
}

// Entries as integers over one denominator, as Qs that are integers.
export function scaled(vector) {
  let den = 1n;
  for (const { d } of vector) {
    if (den % d !== 0n) den = den / gcd(den, d) * d;
    work.spend(300 + 200 * word(den));
    need(bits(den) <= MAX_BITS, "a common denominator is too large");
  }
  return vector.map((x) => new Q(x.n * (den / x.d)));
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
