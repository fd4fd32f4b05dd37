// Whose truth?: every state is proved by the checker, and nobody who fits is smaller than what is proved.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const WEB = process.env.WEB;
const { check } = await import(`${WEB}/checker/checker.mjs`);
const { num, q } = await import(`${WEB}/kit/numbers.mjs`);
const { FITS, RIVALS, answerOf, certificateOf, memory, missed, problemOf, rivals, scene, size } = await import(`${WEB}/truth/math.mjs`);

const net = scene(JSON.parse(readFileSync(new URL(`${WEB}/truth/numbers.json`)))), { grid, lie } = net.numbers, half = (net.side - 1) / 2;
const places = net.places, x = net.stays.map((i) => places[i]);
const kept = (a, b) => net.kept([q(a, grid), q(b, grid)]);
const heights = (a, b, l) => { const y = kept(a, b).map(num); return places.map((_, i) => (i === lie ? l / grid : y[net.stays.indexOf(i)])); };
const every = [];
for (let a = -half; a <= half; a++) for (let b = -half; b <= half; b++) every.push([a, b]);

test("every state is proved, to nine digits and more, and the network that is drawn is the one that is proved", () => {
  for (const [a, b] of every) {
    const y = kept(a, b), state = net.state(a + half, b + half), found = check(problemOf(net, y), certificateOf(net, state)), theta = answerOf(state);
    assert.ok(num(found.gap) < 1e-9, `${a} ${b}`);
    assert.ok(found.neurons <= net.stays.length);
    assert.ok(missed(theta, x, y.map(num)) < 1e-12, `${a} ${b}`);
    assert.ok(Math.abs(size(theta) - num(found.upper)) < 1e-10);
    assert.equal(theta.length / 3 >= found.neurons, true);
  }
});

test("a proof holds for its own truths only, and with its whole tree only", () => {
  const certificate = certificateOf(net, net.state(half + 2, half - 2));
  check(problemOf(net, kept(2, -2)), certificate);
  assert.throws(() => check(problemOf(net, kept(2, -1)), certificate), /J D = b fails/);
  const leaf = certificate.tree.indexOf(null);
  assert.throws(() => check(problemOf(net, kept(2, -2)), { ...certificate, tree: certificate.tree.toSpliced(leaf, 1) }));
  const wrong = problemOf(net, kept(2, -2));
  wrong.origin.y.data[0] = "1";
  assert.throws(() => check(wrong, certificate), /other labels/);
});

test("all rivals, everywhere: who fits is no smaller than the answer; descent stays, ascent and the long step leave", () => {
  let near = 0;
  for (const [a, b] of every) {
    for (const l of [-4, 1, 5]) {
      const all = heights(a, b, l), y = net.stays.map((i) => all[i]), star = memory(net, all), found = rivals(net, all, star);
      const least = size(answerOf(net.state(a + half, b + half)));
      assert.ok(missed(star, places, all) < FITS, `theta* ${a} ${b} ${l}`);
      for (const name of Object.keys(RIVALS)) {
        const fits = missed(found[name], x, y) < FITS;
        if (fits) assert.ok(size(found[name]) > least * (1 - 1e-9), `${name} ${a} ${b} ${l}`);
        if (["short", "gd", "anew"].includes(name)) assert.ok(fits, `${name} ${a} ${b} ${l}`);
      }
      assert.ok(Math.abs(size(found.gd) - size(star)) < 1e-6 * size(star));
      assert.ok(missed(found.long, x, y) > 0.01 && missed(found.ga, x, y) > 0.01);
      assert.ok(size(found.short) <= size(star));
      near += size(found.short) < 1.2 * least;
    }
  }
  assert.ok(near > every.length / 2 && near < 2.5 * every.length, String(near)); // sometimes, as the page says
});

test("the package's own networks, solver and proofs say the same", () => {
  const close = (u, v) => assert.ok(Math.abs(u - v) < 1e-5 * Math.abs(v), `${u} ${v}`);
  for (const { state: [a, b, l], optimum, sizes, missed: off } of JSON.parse(readFileSync(new URL("truth.states.json", import.meta.url)))) {
    const all = heights(a, b, l), star = memory(net, all), found = { star, ...rivals(net, all, star) };
    close(size(answerOf(net.state(a + half, b + half))), optimum);
    for (const [name, value] of Object.entries(sizes)) close(size(found[name]), value);
    close(missed(found.long, x, net.stays.map((i) => all[i])), off);
  }
});
