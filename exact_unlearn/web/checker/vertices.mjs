// Section 12: L/2 sum |x_j|^(2/L), whose least value on an affine set is that of a vertex.  All of them are tried.

import { Q, ROOT, ZERO, bits, int, largest, scaled, subsets, sum, word, work } from "./rational.mjs";

const FEW = 40; // bits of a root that are looked at first

// floor(n^(1/k)), by Newton's iteration from above
function integerRoot(n, k) {
  if (n < 2n) return n;
  const degree = BigInt(k);
  let x = 1n << BigInt(Math.ceil(bits(n) / k));
  for (;;) {
    work.spend(800 + 30 * word(n) ** 2);
    const y = ((degree - 1n) * x + n / x ** (degree - 1n)) / degree;
    if (y >= x) return x;
    x = y;
  }
}

// [lower, upper] of |x|^(2/L); equal where that is rational
export function power(x, L) {
  const n = x.n * x.n, d = x.d * x.d, top = integerRoot(n, L), bottom = integerRoot(d, L);
  if (top ** BigInt(L) === n && bottom ** BigInt(L) === d) return [new Q(top, bottom), new Q(top, bottom)];
  const shift = Math.max(0, ROOT + Math.floor((bits(d) - bits(n)) / L));
  const root = integerRoot((n << BigInt(L * shift)) / d, L), unit = 1n << BigInt(shift);
  return [new Q(root, unit), new Q(root + 1n, unit)];
}
const both = (list, L) => [0, 1].map((side) => sum(list.map((x) => power(x, L)[side])));

// L/2 sum |x_j|^(2/L), from below and from above
export const powers = (list, L) => both(list.filter((x) => x.n !== 0n), L).map((x) => x.times(new Q(BigInt(L), 2n)));

// Rows of integers that span the same as the given ones, and are independent.
function independent(rows) {
  const found = [], kept = [];
  for (const row of rows) {
    let v = row, last = 1n;
    for (const [at, top] of found) {
      work.spend(v.length * (600 + 40 * word(v[at]) * word(top[at])));
      v = v.map((x, j) => (top[at] * x - v[at] * top[j]) / last);
      last = top[at];
    }
    const at = v.findIndex((x) => x !== 0n);
    if (at >= 0) { found.push([at, v]); kept.push(row); }
  }
  return kept;
}

// [numerators, denominator] of the solution of a square system [A q] of integers, or null where A is singular.
function solved(rows) {
  const M = rows.slice(), r = M.length;
  let last = 1n;
  for (let k = 0; k < r; k++) {
    const at = M.findIndex((row, i) => i >= k && row[k] !== 0n);
    if (at < 0) return null;
    [M[k], M[at]] = [M[at], M[k]];
    const pivot = M[k][k];
    for (let i = 0; i < r; i++) {
      if (i === k) continue;
      const c = M[i][k], own = M[i];
      work.spend((r - k) * (250 + 20 * word(pivot) * word(last)));
      M[i] = own.map((x, j) => (j <= k ? x : (pivot * x - c * M[k][j]) / last));
    }
    last = pivot;
  }
  return [M.map((row) => row[r]), last];
}

// By how much sum |x_j|^(2/L) may exceed that of some vertex of {x : rows . [x, -1] = 0}, x being feasible and not 0; and
// whether every other vertex has more.
export function better(rows, x, L) {
  const A = independent(rows.map((row) => scaled(row).map((v) => v.n))), m = x.length, r = A.length;
  const used = x.map((v) => v.abs()).filter((v) => v.n !== 0n), top = largest(used);
  const shift = FEW - 2 * Math.floor((bits(top.n) - bits(top.d)) / L), up = BigInt(Math.abs(L * shift));
  const few = (n, d) => {
    work.spend(600 + 40 * (word(n) + word(up ? 1n << up : 1n)) * word(d));
    return integerRoot(shift >= 0 ? ((n * n) << up) / (d * d) : (n * n) / ((d * d) << up), L);
  };
  const enough = used.reduce((total, v) => total + few(v.n, v.d) + 1n, 0n);
  let excess = ZERO, alone = true;
  for (const columns of subsets([...Array(m).keys()], r)) {
    work.spend(1000 + 500 * r * r);
    const found = solved(A.map((row) => [...columns.map((j) => row[j]), row[m]]));
    if (found === null) continue;
    const [nums, den] = found;
    let size = 0n;
    for (const n of nums) { if (n !== 0n) size += few(n, den); if (size > enough) break; }
    if (size > enough) continue;
    const values = new Map(columns.map((j, i) => [j, new Q(nums[i], den)]));
    if (x.every((v, j) => v.equals(values.get(j) ?? ZERO))) continue; // x itself
    const mine = used.slice(), theirs = [];
    for (const v of values.values()) {
      if (v.n === 0n) continue;
      const at = mine.findIndex((own) => own.equals(v.abs()));
      if (at >= 0) mine.splice(at, 1); // both have it, irrational or not
      else theirs.push(v);
    }
    const most = both(mine, L)[1], least = both(theirs, L)[0];
    if (!least.above(most)) alone = false;
    excess = largest([most.minus(least)], excess);
  }
  return [excess.times(int(L)).times(new Q(1n, 2n)), alone];
}
