// It bends: every step of the small model is proved, short steps reach the smallest point, and the digits are as told.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const WEB = process.env.WEB;
const { check } = await import(`${WEB}/checker/checker.mjs`);
const { num, q } = await import(`${WEB}/kit/numbers.mjs`);
const { away, certificateOf, errorOf, longStep, onCurve, problemOf, shortSteps } = await import(`${WEB}/bends/math.mjs`);

const proved = (step) => check(problemOf(step), certificateOf(step));
const numbers = JSON.parse(readFileSync(new URL(`${WEB}/bends/numbers.json`)));

test("every long step that a reader can take is proved, wherever theta* is", () => {
  for (let a = 10; a <= 60; a++) {
    for (let way = 1; way <= 100; way += 3) {
      const found = proved(longStep(onCurve(q(a, 20)), q(way, 100)));
      assert.equal(found.proof, "exact", `${a} ${way}`);
      assert.ok(found.unique);
    }
  }
});

test("half as far loses exactly a quarter as much, and the way is a part of the whole way", () => {
  for (const a of [11, 33, 50]) {
    const star = onCurve(q(a, 20)), step = (part) => longStep(star, part).theta, full = away(step(q(1)), star);
    for (const part of [q(1, 2), q(1, 3), q(37, 100)]) {
      assert.ok(errorOf(step(part)).equals(part.squared().times(errorOf(step(q(1))))));
      away(step(part), star).forEach((v, j) => assert.ok(v.equals(part.times(full[j]))));
    }
  }
});

test("every short step is proved, and they end at a = c = 1", () => {
  for (let a = 10; a <= 60; a += 2) {
    for (const lam of [1, 3, 9]) {
      const steps = shortSteps(onCurve(q(a, 20)), q(lam), 12);
      for (const step of steps) assert.equal(proved(step).proof, "exact", `${a} ${lam}`);
      const size = (step) => Math.hypot(...step.theta.map(num));
      assert.ok(size(steps.at(-1)) < Math.SQRT2 + (lam === 9 ? 0.3 : 0.01), `${a} ${lam} ${size(steps.at(-1))}`);
    }
  }
  const last = shortSteps(onCurve(q(5, 2)), q(3), 12).at(-1);
  last.theta.forEach((v) => assert.ok(Math.abs(num(v) - 1) < 1e-3));
});

test("the digits: a window in the long step, all of it in short ones", () => {
  const corrected = ({ outputs }) => outputs.filter((v, i) => v * numbers.truth[i] > 0).length;
  assert.equal(numbers.pictures.length, 8);
  for (const picture of numbers.pictures) assert.match(picture, /^[0-9A-G]{64}$/);
  assert.equal(corrected(numbers.start), 0);
  assert.equal(Math.round(100 * numbers.start.right / numbers.fresh), 66);
  assert.ok([...numbers.long, ...numbers.short].every(({ proof }) => proof === "exact"));
  assert.ok(numbers.long.some((p) => corrected(p) === 8 && p.kept === numbers.retained));
  assert.ok(numbers.long.at(-1).kept < numbers.retained);
  const end = numbers.short.at(-1);
  assert.deepEqual([corrected(end), end.kept, end.error, Math.round(100 * end.right / numbers.fresh)], [8, 32, 0, 98]);
});

test("the error on the kept digits grows as the square of the way", () => {
  const points = numbers.long.filter(({ lam }) => lam >= 30).map(({ moved, error }) => [Math.log(moved), Math.log(error)]);
  const slope = (points.at(-1)[1] - points[0][1]) / (points.at(-1)[0] - points[0][0]);
  assert.ok(Math.abs(slope - 2) < 0.05, String(slope));
});
