// Drag the lie: the network that the page draws is the package's, and its proofs hold wherever the lies are.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const WEB = process.env.WEB;
const { check } = await import(`${WEB}/checker/checker.mjs`);
const { num, q } = await import(`${WEB}/kit/numbers.mjs`);
const { answer, certificateOf, guessOf, influence, network, penalty, problemOf, weights } = await import(`${WEB}/lie/math.mjs`);

const net = network(JSON.parse(readFileSync(new URL(`${WEB}/lie/numbers.json`))));
const START = [1.5, 1.5, 1.5], exact = (list) => list.map((k) => q(k, 20)), none = q(0);
const farthest = (a, b) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));

test("theta* meets all sixteen samples, wherever the lies are", () => {
  for (const heights of [[30, 30, 30], [-44, 44, 0], [7, -13, 21]]) {
    const c = net.star(heights.map((k) => k / 20));
    assert.ok(farthest(net.x.map((s) => net.curve(c, s)), net.y) < 1e-11);
    assert.ok(farthest(net.lies.map((s) => net.curve(c, s)), heights.map((k) => k / 20)) < 1e-11);
    assert.ok(farthest(net.exactStar(exact(heights)).map(num), c) < 1e-11);
  }
});

test("one certificate proves the answer for every position of the lies and every lambda", () => {
  const places = [[30, 30, 30], [-44, 44, 0], [7, -13, 21], [44, 44, 44]];
  for (const heights of places) {
    for (let leak = 0; leak < 20; leak++) {
      const lam = penalty(leak), found = check(problemOf(net, exact(heights), "l2", lam), certificateOf(net, "l2", lam));
      assert.equal(found.proof, "exact");
      assert.ok(found.unique);
    }
    const found = check(problemOf(net, exact(heights), "l1", none), certificateOf(net, "l1", none));
    assert.deepEqual([found.proof, found.upper.n, found.upper.d, found.unique], ["exact", 9n, 1n, true]);
  }
  const found = check(problemOf(net, exact(places[1]), "l0", none), certificateOf(net, "l0", none));
  assert.deepEqual([found.proof, found.upper.n], ["exact", 5n]);
});

test("every height of every lie is proved under l1", () => {
  for (let k = -44; k <= 44; k += 4) {
    for (const heights of [[k, 30, 30], [30, k, 30], [30, 30, k]]) {
      assert.equal(check(problemOf(net, exact(heights), "l1", none), certificateOf(net, "l1", none)).proof, "exact");
    }
  }
});

test("l1 finds the source of the truths: five neurons, bends at -3, -1, 1, 3", () => {
  const c = answer(net, net.proofs.l1);
  assert.equal(c.filter((v) => v.n !== 0n).length, 5);
  for (const [s, y] of [[-4, 0], [-3, -1], [-1, 1], [1, -1], [3, 1], [4, 0]]) assert.ok(Math.abs(net.curve(net.answers.l1, s) - y) < 1e-12);
});

test("how much of a lie is left, by method", () => {
  const left = (method, way, lam) => influence(net, method, START, way, lam);
  for (const [method, way, lam, want] of [["star", 1, 0, 1], ["gd", 1, 0, 1], ["ga", 0.5, 0, 1], ["l2", 1, 0, 0], ["l1", 1, 0, 0], ["l0", 1, 0, 0],
    ["l2", 0.5, 0, 0.5], ["l2", 1, 1 / 3, 0.25], ["l2", 1, 1, 0.5], ["l2", 1, 19, 0.95]]) {
    assert.ok(Math.abs(left(method, way, lam) - want) < 1e-10, `${method} ${way} ${lam}`);
  }
});

test("what is drawn with a drift penalty is what the certificate proves", () => {
  for (const leak of [5, 10, 15]) {
    const lam = penalty(leak), heights = exact([30, 30, 30]), star = net.exactStar(heights), z = answer(net, net.proofs.l2);
    const proved = z.map((v, j) => num(v.plus(lam.times(star[j])).over(q(1).plus(lam)))); // (J^T nu + lam theta*) / (1 + lam)
    assert.ok(farthest(weights(net, "l2", START, 1, num(lam)), proved) < 1e-11);
  }
});

test("ascent shouts: 9.6 after 36 steps, 1045 after 54", () => {
  const error = (steps) => Math.max(...net.x.map((s, i) => Math.abs(net.curve(weights(net, "ga", START, steps / 60, 0), s) - net.y[i])));
  assert.equal(error(36).toFixed(1), "9.6");
  assert.equal(error(54).toFixed(0), "1045");
});

test("a guess of the fewest neurons is graded: too few and too many are refused", () => {
  const asked = (k) => check(problemOf(net, exact([30, 30, 30]), "l0", none), guessOf(net, k));
  assert.throws(() => asked(4), /claims more than is proved: upper/);
  assert.throws(() => asked(6), /claims more than is proved: lower/);
  assert.equal(asked(5).proof, "exact");
});

test("a changed digit is refused", () => {
  for (const method of ["l2", "l1"]) {
    const bad = structuredClone(certificateOf(net, method, none));
    bad.dual.nu[0].nums[0] += "1";
    assert.throws(() => check(problemOf(net, exact([30, 30, 30]), method, none), bad), method);
  }
});
