// Two players: the best play of the page is the package's, exact where it is rational, and the checker proves it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const WEB = process.env.WEB;
const { check } = await import(`${WEB}/checker/checker.mjs`);
const { hex, num, q } = await import(`${WEB}/kit/numbers.mjs`);
const { NORMS, certificateOf, claimed, extent, multipliers, play, polar, problemOf, scene } = await import(`${WEB}/players/math.mjs`);

const twentieths = (list) => list.map((k) => q(k, 20)), names = Object.keys(NORMS);
const setting = (x, y) => ({ s: scene(twentieths(x), twentieths(y)), labels: twentieths(y).slice(0, 2) });

test("theta* meets all three samples; the line meets both that are kept", () => {
  const x = [-14, 18, 2], y = [16, 12, -24], { s } = setting(x, y);
  const at = (p, k) => p.reduce((sum, v, j) => sum + num(v) * (x[k] / 20) ** j, 0);
  for (const k of [0, 1, 2]) assert.ok(Math.abs(at(s.star, k) - y[k] / 20) < 1e-14);
  for (const k of [0, 1]) assert.ok(Math.abs(at(s.n, k)) < 1e-14);
});

test("the states that the package has certified", () => {
  for (const { x, y, norm, value, theta } of JSON.parse(readFileSync(new URL("players.states.json", import.meta.url)))) {
    const { s, labels } = setting(x, y), played = play(s, labels, norm), size = extent(played.theta.map(num), norm), say = `${x} ${y} ${norm}`;
    for (const bound of value) assert.ok(Math.abs(size - bound) <= 2e-15 * size, say);
    assert.equal(theta.length, 3);
  }
});

// Instances without a third of a chance for luck: x apart, labels not zero.
function* instances(count) {
  let seed = 7;
  const draw = (k) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % (2 * k + 1) - k; };
  for (let n = 0; n < count;) {
    const x = [draw(36), draw(36), draw(36)], y = [draw(28), draw(28), draw(28)];
    if (new Set(x).size < 3 || Math.abs(x[0] - x[1]) < 8 || !y[0] || !y[1]) continue;
    n++;
    yield { x, y, ...setting(x, y) };
  }
}

test("120 instances: exact for l2, l1 and l infinity, and to a hundred digits for groups", () => {
  const levels = {};
  for (const { x, y, s, labels } of instances(120)) {
    for (const norm of names) {
      const { theta, nu, claims } = play(s, labels, norm), found = check(problemOf(s, norm), certificateOf(theta, nu, claims)), closed = multipliers(s.rows, labels, theta, norm);
      const say = `${x} ${y} ${norm}: ${found.proof} ${num(found.gap)}`;
      if (closed && norm !== "group") assert.equal(found.proof, "exact", say);
      else if (closed) assert.ok(found.gap.n === 0n || num(found.gap) < 1e-100, say);
      else assert.ok(num(found.gap) < 1e-9, say);
      levels[norm] = (levels[norm] ?? 0) + (closed ? 1 : 0);
    }
  }
  for (const norm of names) assert.ok(levels[norm] > 100, `${norm}: ${levels[norm]} in closed form`);
});

test("multipliers outside of their shape prove nothing, inside they prove what they say", () => {
  for (const { s, labels } of instances(20)) {
    for (const norm of names) {
      const { theta, nu, rim } = play(s, labels, norm), g = [0, 1, 2].map((j) => rim[0] * num(s.rows[0][j]) + rim[1] * num(s.rows[1][j]));
      assert.ok(Math.abs(polar(g, norm) - 1) < 1e-12);
      const claim = (k) => {
        const own = rim.map((v) => q(Math.round(v * k * 2 ** 40), 2 ** 40)), value = claimed(own, labels);
        return check(problemOf(s, norm), certificateOf(theta, own, { proof: "repaired", lower: hex(value) }));
      };
      assert.ok(claim(0.99).lower.sign() > 0);
      assert.throws(() => claim(1.01), /claims more than is proved: lower/);
      assert.throws(() => check(problemOf(s, norm), certificateOf(theta, nu.map((v) => v.negated()), { proof: "enclosure" })), /not enclosure/);
    }
  }
});
