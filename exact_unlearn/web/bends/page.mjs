// It bends, as a reader sees it.

import { clamp, fmt, minus, num, percent, q } from "../kit/numbers.mjs";
import { Plane } from "../kit/plane.mjs";
import { $, animate, number, oneOf, page, proofBox, radios, readings } from "../kit/page.mjs";
import { COLUMNS, drawDigit, sideOf } from "./digits.mjs";
import { STEPS, away, certificateOf, errorOf, gradient, longStep, onCurve, output, problemOf, shortSteps } from "./math.mjs";

const CURVE = 0, TANGENT = 1, SHORT = 2, DIGITS = 3, LONG_WAY = 4, MANY = 5;
const GRID = 20, HUNDRED = 100, LEAST = [10, 60]; // theta* in twentieths
const PENALTIES = { 1: "λ = 1", 3: "λ = 3", 9: "λ = 9" };

function start() {
  const data = JSON.parse($("numbers").textContent), small = matchMedia("(max-width: 560px)");
  const square = (width) => width * (small.matches ? 0.66 : 0.96);
  const weights = new Plane($("weights"), { x: [-0.35, 3.35], bottom: -0.3, tall: square });
  const law = new Plane($("law"), { x: [-2.6, 1.5], y: [-7.5, 1], tall: square });
  const digits = new Plane($("digits"), { x: [0, 1], y: [0, 1], tall: (width) => 2 * (sideOf(width / COLUMNS) + (small.matches ? 56 : 64)) });
  const fields = {
    a: number(50, ...LEAST), way: number(0, 0, HUNDRED), lam: oneOf("3", "1", "9"), k: number(0, 0, STEPS),
    long: number(0, 0, data.long.length), short: number(0, 0, data.short.length),
  };
  const star = () => onCurve(q(state.a, GRID)), far = () => longStep(star(), q(1)), steps = () => shortSteps(star(), q(Number(state.lam)), state.k);
  const here = () => { // the step on show, if there is one
    if (state.step === SHORT) return steps().at(-1) ?? null;
    return state.step === TANGENT && state.way ? longStep(star(), q(state.way, HUNDRED)) : null;
  };

  // ---------------------------------------------------------------- what moves

  let stop = () => {};
  const enter = (step, all) => (all ? { way: HUNDRED, k: STEPS, long: 11, short: data.short.length } : {});
  const { state, set } = page({ fields, enter, begin: () => stop(), render, planes: [weights, law, digits] });
  const move = (a) => set({ a: clamp(Math.round(a), ...LEAST) });
  const handle = weights.handle({
    label: "The trained model, on the curve", cls: "f-lie", size: 10,
    at: () => star().map(num),
    says: () => `a ${fmt(num(star()[0]))}, c ${fmt(num(star()[1]))}`,
    move: ([u, v]) => { // to a near point of the curve
      let best = state.a;
      for (let a = LEAST[0]; a <= LEAST[1]; a++) if (Math.hypot(a / GRID - u, GRID / a - v) < Math.hypot(best / GRID - u, GRID / best - v)) best = a;
      move(best);
    },
    keys: (right, up) => move(state.a + right - up), // to the right the curve falls
  });
  const run = (key, to) => {
    stop();
    const from = state[key] === to ? 0 : state[key];
    stop = animate(1600, (t) => set({ [key]: Math.round(from + t * (to - from)) }));
  };
  for (const key of ["way", "k", "long", "short"]) {
    $(key).oninput = () => { stop(); set({ [key]: Number($(key).value) }); };
    $(`${key}play`).onclick = () => run(key, Number($(key).max));
  }
  const drawPenalties = radios(document.querySelectorAll("[data-penalties]"), Object.entries(PENALTIES), () => state.lam, (lam) => set({ lam }));
  const refreshProof = proofBox({ problem: () => problemOf(here()), certificate: () => certificateOf(here()) });

  // ---------------------------------------------------------------- the curved line

  function drawWeights() {
    const { step } = state, at = star().map(num), [ja, jc] = gradient(star()).map(num), current = here(), end = current ? current.theta.map(num) : at;
    const curve = Array.from({ length: 121 }, (_, k) => { const a = 0.28 * 1.0215 ** k; return [a, 1 / a]; });
    const path = step === SHORT ? [at, ...steps().map(({ theta }) => theta.map(num))] : [at, end];
    weights.draw("back", weights.grid(["a", "c"]));
    weights.draw("main", step > CURVE && weights.circle(Math.hypot(...end), "thin s-answer"), weights.path(curve, "line s-keep"),
      step === TANGENT && weights.line([ja, jc], ja * at[0] + jc * at[1], "thin s-soft dash"),
      step > CURVE && weights.path(path, "line s-answer"));
    handle();
    weights.draw("front", step === SHORT && path.slice(1).map((p) => weights.dot(p, 4, "f-answer")),
      step > CURVE && current && weights.dot(end, 8, "f-answer"), weights.name(at, "θ*", "f-lie"),
      step > CURVE && current && weights.name(end, "θ̃", "f-answer"), weights.text([0.42, 2.1], small.matches ? "" : "a·c = 1", "big f-keep", [4, 0]));
  }

  // ---------------------------------------------------------------- the law of the error

  const place = (moved, error) => [Math.log10(Math.max(moved, 1e-3)), Math.log10(Math.max(error, 1e-12))];
  const seated = ([x, y]) => [x, Math.max(y, law.y[0] + 0.25)]; // no error at all stands on the floor
  const inside = ([x, y]) => x >= law.x[0] && y >= law.y[0];

  function drawLaw() {
    const toy = state.step < DIGITS, parts = [];
    let long, short, current;
    if (toy) {
      const D = away(far().theta, star()).map(num), full = Math.hypot(...D), error = Math.abs(D[0] * D[1]);
      long = [0.5, 1, 2, 5, 10, 20, 50, 100].map((t) => place(full * t / HUNDRED, error * (t / HUNDRED) ** 2));
      const point = ({ theta }) => place(Math.hypot(...away(theta, star()).map(num)), Math.abs(num(errorOf(theta))));
      short = state.step === SHORT ? steps().map(point) : [];
      current = state.step === SHORT ? short.at(-1) : here() && point(here());
    } else {
      long = data.long.map(({ moved, error }) => place(moved, error));
      short = state.step === MANY ? data.short.slice(0, state.short).map(({ moved, error }) => place(moved, error)) : [];
      current = state.step === MANY ? short.at(-1) : state.step === LONG_WAY && state.long ? long[state.long - 1] : null;
    }
    if (state.step !== DIGITS && state.step !== CURVE) {
      parts.push(law.path(long.filter(inside), state.step === TANGENT || state.step === LONG_WAY ? "line s-answer" : "thin s-answer dash"));
      parts.push(long.filter(inside).map((p) => law.dot(p, 3, "f-answer")));
      if (short.length > 1) parts.push(law.path(short.map(seated), "line s-answer"));
      parts.push(short.map((p) => law.dot(seated(p), 4, "f-answer")));
    }
    law.draw("back", law.decades(2, ["how far moved", "error on what is kept"]));
    law.draw("main", parts);
    const slope = long.find(([x, y]) => inside([x, y]) && y > -5) ?? long.at(-1);
    law.draw("front", current && law.dot(seated(current), 8, "f-answer"),
      (state.step === TANGENT || state.step === LONG_WAY) && law.text(slope, "the square law", "big f-answer", [14, 6]));
    $("lawbox").style.display = $("law").style.display = state.step === CURVE || state.step === DIGITS ? "none" : "";
  }

  // ---------------------------------------------------------------- the digits

  const seen = () => (state.step === LONG_WAY && state.long ? data.long[state.long - 1] : state.step === MANY && state.short ? data.short[state.short - 1] : data.start);
  const corrected = ({ outputs }) => outputs.filter((v, i) => v * data.truth[i] > 0).length;

  function drawDigits() {
    const { outputs } = seen(), wide = digits.width / COLUMNS, high = digits.height / 2;
    digits.draw("main", data.pictures.map((picture, i) => drawDigit([(i % COLUMNS) * wide, Math.floor(i / COLUMNS) * high + 12, wide], picture, data.truth[i], outputs[i], state.step === MANY ? data.anew.outputs[i] : null)));
    $("digits").setAttribute("aria-label", `Eight digits with a wrong label; the model gives the true one to ${corrected(seen())} of them`);
  }

  // ---------------------------------------------------------------- the numbers

  const tiny = (x) => (x < 1e-9 ? "0" : x < 1e-3 ? minus(x.toExponential(1)) : fmt(x, 3));

  function toyRows() {
    const current = here(), theta = current ? current.theta : star(), error = Math.abs(num(errorOf(theta))), moved = Math.hypot(...away(theta, star()).map(num));
    const half = state.step === TANGENT && state.way > 1 ? "half as far: a quarter of it" : "";
    return [["Output a·c", fmt(num(output(theta)), 3), "it should be 1"], ["Error", tiny(error), half],
      ...(state.step === CURVE ? [] : [["Moved", fmt(moved, 3), ""]]), ["Size of the weights", fmt(Math.hypot(...theta.map(num)), 3), "1.414 is the least on the curve"],
      ...(state.step === CURVE ? [] : [["Proof", current ? "exact" : "–", current ? (state.step === SHORT ? "of the last step" : "of this step") : ""]])];
  }
  function digitRows() {
    const now = seen(), share = now.right / data.fresh;
    return [["Error on the kept digits", tiny(now.error), now.error < 0.01 ? "they keep their labels" : now.kept === data.retained ? "their signs are right" : "lost"],
      ["Kept digits right", `${now.kept} of ${data.retained}`, ""], ["Forgotten digits", `${corrected(now)} of 8`, "with their true label, which nobody told"],
      ["Digits never seen", percent(share), state.step === MANY ? `trained without the eight: ${percent(data.anew.right / data.fresh)}` : "right"],
      ["Proof", now.proof ?? "–", now.proof ? "gap 0, by the package" : ""]];
  }

  function sliders() {
    const { step } = state, shown = { way: step === TANGENT, k: step === SHORT, long: step === LONG_WAY, short: step === MANY };
    const words = {
      way: state.way ? `λ = ${fmt((HUNDRED - state.way) / state.way)}` : "at θ*", k: `${state.k} of ${STEPS}`,
      long: state.long ? `λ = ${data.long[state.long - 1].lam}` : "at θ*", short: `${state.short} of ${data.short.length}`,
    };
    for (const [key, on] of Object.entries(shown)) {
      $(`${key}slide`).style.display = on ? "" : "none";
      $(key).value = state[key];
      $(key).setAttribute("aria-valuetext", words[key]);
      $(`${key}out`).textContent = words[key];
    }
  }

  function render() {
    const toy = state.step < DIGITS, proved = (state.step === TANGENT || state.step === SHORT) && here() !== null;
    for (const [id, on] of [["weightsbox", toy], ["weights", toy], ["digitsbox", !toy], ["digits", !toy]]) $(id).style.display = on ? "" : "none";
    $("pictures").className = `figures${state.step === CURVE || state.step === DIGITS ? " single" : ""}`;
    if (toy) drawWeights();
    else drawDigits();
    drawLaw();
    drawPenalties();
    sliders();
    readings($("read"), toy ? toyRows() : digitRows());
    $("proofbox").style.display = proved ? "" : "none";
    if (proved) refreshProof();
  }
  set({});
}

start();
