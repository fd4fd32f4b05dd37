// Shadow of the weights: what the page computes is what the package certified, and the checker proves all of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const WEB = process.env.WEB;
const { check } = await import(`${WEB}/checker/checker.mjs`);
const { parse } = await import(`${WEB}/checker/rational.mjs`);
const { num, q } = await import(`${WEB}/kit/numbers.mjs`);
const { certificateOf, dualLength, length, problemOf, solve, through, walk } = await import(`${WEB}/shadow/math.mjs`);

const star = (x, y, b = q(7, 40)) => [y.minus(b.times(x)), b];
const exact = (unique) => ({ proof: "exact", gap: "0", unique });

test("63 states are what the package solves and certifies", () => {
  const states = JSON.parse(readFileSync(new URL("shadow.states.json", import.meta.url)));
  assert.equal(states.length, 63);
  for (const state of states) {
    const x = parse(state.x), y = parse(state.y), found = solve(x, y, state.norm), value = Math.sqrt(num(found.size2)), say = JSON.stringify(state);
    for (const bound of state.value) assert.ok(Math.abs(value - bound) <= 1e-15 * value, say);
    assert.equal(found.unique, state.unique === true, say);
    if (!found.unique) continue;
    found.theta.forEach((t, j) => assert.ok(Math.abs(num(t) - num(parse(state.theta[j]))) <= 2.3e-16 * Math.max(1, Math.abs(num(t))), say));
  }
});

test("every state that a reader can reach is proved", () => {
  for (let a = -48; a <= 48; a++) {
    for (let b = -29; b <= 29; b++) {
      const x = q(a, 20), y = q(b, 20);
      for (const norm of ["l2", "l1", "linf"]) {
        const { theta, nu, unique } = solve(x, y, norm);
        assert.equal(check(problemOf(x, star(x, y), norm), certificateOf(theta, nu, exact(unique))).proof, "exact", `${a} ${b} ${norm}`);
      }
    }
  }
});

test("the answer is the only one exactly where one coefficient of (1, x) does not tie", () => {
  const unique = (x, norm) => solve(q(x), q(1), norm).unique;
  assert.deepEqual(["l2", "l1", "linf"].map((norm) => [0, 1, 2].map((x) => unique(x, norm))), [[true, true, true], [true, false, true], [false, true, true]]);
});

test("the reader's point and bound are graded, and a false bound is refused", () => {
  const x = q(1, 2), y = q(13, 10), { nu, size2 } = solve(x, y, "l1"), problem = problemOf(x, star(x, y), "l1");
  const own = star(x, y, q(-1, 2)), claim = (lower) => certificateOf(own, nu, { proof: "repaired", lower });
  assert.equal(num(check(problem, claim("1")).upper), 2.05);
  assert.equal(num(size2), 1.69);
  assert.throws(() => check(problem, claim("4/3")), /claims more than is proved: lower/);
});

test("the wrong sign of nu, and a point off the line, prove nothing", () => {
  const x = q(1, 2), y = q(13, 10);
  for (const norm of ["l2", "l1", "linf"]) {
    const { theta, nu, unique } = solve(x, y, norm), problem = problemOf(x, star(x, y), norm);
    assert.throws(() => check(problem, certificateOf(theta, nu.negated(), exact(unique))), /not exact/);
    assert.throws(() => check(problem, certificateOf([theta[0].plus(q(1, 1000)), theta[1]], nu, exact(unique))), /J D = b fails/);
  }
});

test("gradient methods end where the text says", () => {
  const keep = [q(1, 2), q(13, 10)], forget = [q(-6, 5), q(-9, 10)], at = through(keep, forget).map(num), [k, f] = [keep, forget].map((p) => p.map(num));
  const miss = ([a, b], [x, y]) => Math.abs(a + b * x - y), end = (kind) => walk(kind, at, k, f).at(-1);
  assert.deepEqual(end("gd").map((v) => v.toFixed(12)), at.map((v) => v.toFixed(12)));
  assert.equal(miss(end("ga"), k).toFixed(2), "2.35");
  const least = solve(...keep, "l2").theta.map(num); // 80 steps come near it
  end("gd0").forEach((v, j) => assert.ok(Math.abs(v - least[j]) < 1e-4));
});

test("dual norms pair with their norms", () => {
  for (const norm of ["l2", "l1", "linf"]) {
    for (const g of [[1, 2], [-3, 1], [0, 1]]) {
      const most = Math.max(...Array.from({ length: 3600 }, (_, k) => {
        const v = [Math.cos(k * Math.PI / 1800), Math.sin(k * Math.PI / 1800)];
        return (v[0] * g[0] + v[1] * g[1]) / length(v, norm);
      }));
      assert.ok(Math.abs(most - dualLength(g, norm)) < 1e-5);
    }
  }
});
