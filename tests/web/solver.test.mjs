// When the solver lies: the page shows what was measured, cell by cell.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const WEB = process.env.WEB;
const { FORMS, column, score } = await import(`${WEB}/solver/math.mjs`);

const numbers = JSON.parse(readFileSync(new URL(`${WEB}/solver/numbers.json`)));
const measured = JSON.parse(readFileSync(new URL("../../docs/results/solver_lies/solver_lies.json", import.meta.url)));

test("every cell is what the experiment wrote", () => {
  let cells = 0;
  for (const form of Object.keys(FORMS)) {
    numbers.conditions.forEach((condition, at) => {
      const shown = column(numbers, form, at);
      for (const cell of [shown.ours, ...shown.peers]) {
        const found = measured.filter((c) => c.form.replaceAll(" ", "") === form && c.condition === condition && c.solver === cell.solver);
        assert.equal(found.length, 1);
        const { status, value, error, verdict, truth, proof } = found[0];
        assert.deepEqual([cell.status, cell.value, cell.error, cell.verdict, shown.best, shown.proof], [status, value, error, verdict, truth, proof]);
        cells++;
      }
    });
  }
  assert.equal(cells, measured.length);
});

test("the reader is scored", () => {
  const at = (form, k, trusted) => score(column(numbers, form, k), trusted);
  assert.equal(at("l1", 4, ["CLARABEL", "HIGHS"]), "4 of 5 lied; you believed 2 of them.");
  assert.equal(at("l1", 4, []), "4 of 5 lied.");
  assert.equal(at("l1", 4, ["ECOS"]), "4 of 5 lied; you believed 0 of them.");
  assert.equal(at("l1", 0, ["OSQP"]), "Nobody lied here.");
});

test("the problem of the truth at 1e8 is proved, to the last digit that the page shows", async () => {
  const { check } = await import(`${WEB}/checker/checker.mjs`);
  const { num } = await import(`${WEB}/kit/numbers.mjs`);
  const { certificateOf, isProved, problemOf } = await import(`${WEB}/solver/math.mjs`);
  const { best } = column(numbers, "l1", 4), found = check(problemOf(numbers), certificateOf(numbers));
  assert.ok(num(found.gap) < 1e-12);
  assert.ok(Math.abs(num(found.upper) - best) < 1e-12);
  assert.deepEqual([isProved(numbers, "l1", 4), isProved(numbers, "l1", 3), isProved(numbers, "linfinity", 4)], [true, false, false]);
  const wrong = certificateOf(numbers);
  wrong.dual.nu[0].nums[0] += "1";
  assert.throws(() => { const { gap } = check(problemOf(numbers), wrong); assert.ok(num(gap) < 0.1); });
});
