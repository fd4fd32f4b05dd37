// Drag the lie, as a reader sees it.

import { ZERO } from "../checker/rational.mjs";
import { clamp, fmt, num, percent, q } from "../kit/numbers.mjs";
import { Plane } from "../kit/plane.mjs";
import { $, animate, number, oneOf, page, proofBox, radios, readings, verdict } from "../kit/page.mjs";
import { ASCENT, certificateOf, guessOf, influence, network, penalty, problemOf, weights } from "./math.mjs";

const MEMORY = 0, ASCEND = 2, LEAST = 3, FEWER = 5, HALVES = 6;
const METHODS = ["star", "gd", "ga", "l2", "l2", "l2", "l2", "l1"]; // where a step begins
const BUTTONS = { l2: "least ℓ2", l1: "least ℓ1", l0: "fewest neurons" };
const CURVES = { ga: "after ascent", l2: "least ℓ2", l1: "least ℓ1", l0: "fewest neurons" };
const GRID = 20, TALL = 3.1, HIGHEST = 44, WAY = 60, TINY = 1e-9;

function start() {
  const net = network(JSON.parse($("numbers").textContent));
  const small = matchMedia("(max-width: 560px)");
  const chart = new Plane($("chart"), { x: [-4.25, 4.25], y: [-TALL, TALL], tall: (width) => width * (small.matches ? 0.62 : 0.44) });
  const strip = new Plane($("neurons"), { x: [-4.25, 4.25], y: [-3, 3], tall: () => (small.matches ? 84 : 120) });
  const fields = {
    method: oneOf("star", "gd", "ga", "l2", "l1", "l0"),
    walk: number(WAY, 0, WAY), leak: number(0, 0, 19), guess: number(12, 1, 24),
    y0: number(30, -HIGHEST, HIGHEST), y1: number(30, -HIGHEST, HIGHEST), y2: number(30, -HIGHEST, HIGHEST),
  };

  const exactHeights = () => [state.y0, state.y1, state.y2].map((k) => q(k, GRID)), heights = () => exactHeights().map(num);
  const lam = () => (state.step === HALVES ? penalty(state.leak) : ZERO);
  const isAnswer = () => state.method in BUTTONS, way = () => state.walk / WAY;

  // ---------------------------------------------------------------- what moves

  let stop = () => {}, asked = "";
  const run = (milliseconds) => {
    stop();
    stop = animate(milliseconds, (t) => set({ walk: Math.round(t * WAY) }));
  };
  const enter = (step, all) => {
    const walks = step === ASCEND || step === LEAST, opening = { method: METHODS[step], walk: walks ? 0 : WAY, leak: step === HALVES ? 10 : 0 };
    return { ...opening, ...(all ? { [ASCEND]: { walk: 36 }, [LEAST]: { walk: WAY }, [FEWER]: { method: "l1" } }[step] : {}) };
  };
  const begin = (step) => {
    stop();
    asked = "";
    if (step === ASCEND) run(3000);
    if (step === LEAST) run(1800);
  };
  const { state, set } = page({ fields, enter, begin, render, planes: [chart, strip] });
  const handles = net.lies.map((s, k) => chart.handle({
    label: `Lie at x = ${fmt(s)}`, cls: "f-lie", square: true, size: 8, axis: 1,
    at: () => [s, state[`y${k}`] / GRID],
    says: () => `y ${fmt(state[`y${k}`] / GRID)}`,
    move: ([, v]) => set({ [`y${k}`]: clamp(Math.round(v * GRID), -HIGHEST, HIGHEST) }),
    keys: (right, up) => set({ [`y${k}`]: clamp(state[`y${k}`] + up, -HIGHEST, HIGHEST) }),
  }));
  const drawNorms = radios(document.querySelectorAll("[data-norms]"), Object.entries(BUTTONS), () => state.method, (method) => {
    set({ method, walk: 0 });
    run(1200);
  });
  $("walk").oninput = () => { stop(); set({ walk: Number($("walk").value) }); };
  $("leak").oninput = () => { stop(); set({ leak: Number($("leak").value), walk: WAY }); };
  $("guess").oninput = () => { asked = ""; set({ guess: Number($("guess").value) }); };
  $("ask").onclick = () => {
    asked = "checking all sets of four neurons …";
    set({});
    setTimeout(() => {
      const { guess } = state, { refused } = verdict(problemOf(net, exactHeights(), "l0", ZERO), () => guessOf(net, guess));
      asked = refused ? `Refused: ${guess < 5 ? "no network so small meets the truths" : "a smaller one does"}. The checker: ${refused}.` : `Proved: ${guess} do, and fewer do not.`;
      set({});
    }, 50);
  };
  const refreshProof = proofBox({
    problem: () => problemOf(net, exactHeights(), state.method, lam()),
    certificate: () => certificateOf(net, state.method, lam()),
  });

  // ---------------------------------------------------------------- the pictures

  function drawChart({ c, from, moved }) {
    const { method, step } = state, curve = (weights, cls) => chart.path(net.corners.map((s) => [s, net.curve(weights, s)]), cls);
    const peak = method === "ga" ? Math.max(...net.corners.map((s) => Math.abs(net.curve(c, s)))) : 0, room = Math.max(TALL, 1.1 * peak);
    chart.y = [-room, room]; // the camera steps back from a shout
    chart.draw("back", chart.grid(["x", "y"]), step >= FEWER && curve(net.answers.l1, "thin s-keep dash"));
    chart.draw("main", curve(from, `line s-lie${moved ? " dash" : ""}`), moved && curve(c, `line s-${method === "ga" ? "bad" : "answer"}`));
    chart.draw("front", net.x.map((s, i) => chart.dot([s, net.y[i]], small.matches ? 4.5 : 5.5, "f-keep")));
    for (const draw of handles) draw();
  }

  function drawStrip({ c, from, moved }) {
    const stem = (v, j, cls, width, aside) => {
      const x = strip.X(net.at[j]) + aside, top = strip.Y(clamp(Math.asinh(v), -2.9, 2.9));
      return `<path class="${cls}" style="stroke-width:${width}" d="M${x.toFixed(1)} ${strip.Y(0)}V${top.toFixed(1)}"/>`;
    };
    const wide = small.matches ? 4 : 6, who = state.method === "ga" ? "bad" : "answer";
    strip.draw("main", strip.path([[-4.25, 0], [4.25, 0]], "axis"),
      from.map((v, j) => stem(v, j, "s-lie", moved ? 2 : wide, moved ? -wide / 2 - 1 : 0)),
      moved && c.map((v, j) => (Math.abs(v) < TINY ? strip.dot([net.at[j], 0], 2.6, "f-keep") : stem(v, j, `s-${who}`, wide, 1))));
  }

  // ---------------------------------------------------------------- the numbers

  function numbersOf({ c, moved }) {
    const { method } = state, error = Math.max(...net.x.map((s, i) => Math.abs(net.curve(c, s) - net.y[i])));
    const left = influence(net, method, heights(), way(), num(lam())), active = c.filter((v) => Math.abs(v) > TINY).length;
    const away = Math.max(...net.corners.map((s) => Math.abs(net.curve(c, s) - net.curve(net.answers.l1, s)))), done = state.walk === WAY;
    const number = (v) => (v < TINY ? "0" : fmt(v, v < 100 ? 2 : 0));
    return [["Error on the truths", number(error), error < TINY ? "all 13 are met" : "broken"],
      ["Influence of a lie", number(left), left < TINY ? "nothing of it is left" : left > 0.99999 ? "all of it is still there" : `${percent(left)} is still there`],
      ["Neurons in use", `${active} of ${net.d}`, method === "l0" && done ? "proved: 4 cannot do it" : ""],
      ...(state.step >= FEWER ? [["Farthest from the source", number(away), "of the truths, dashed"]] : []),
      ["Proof", isAnswer() && done ? "exact" : "–", !moved || method === "ga" ? "nothing is claimed" : done ? "gap 0, in fractions" : "for the end of the way"]];
  }

  function drawSlider() {
    const { method, step, walk } = state, steps = method === "gd" ? `${walk * 1000}` : String(Math.round(way() * ASCENT));
    const labels = { gd: "Steps of gradient descent on the truths", ga: "Steps of gradient ascent on the lies" };
    $("walkslide").style.display = step === MEMORY ? "none" : "";
    $("walk").value = walk;
    $("walklabel").textContent = labels[method] ?? "The way from θ* to the answer";
    $("walkout").textContent = method in labels ? steps : percent(way());
    $("leak").value = state.leak;
    $("leakout").textContent = `λ = ${state.leak === 0 ? 0 : fmt(num(penalty(state.leak)))}`;
    $("guess").value = state.guess;
    $("guessout").textContent = state.guess;
    $("grade").textContent = asked;
  }

  function legend(moved) {
    const { method, step } = state, words = (cls, text) => `<span class="${cls}">${text}</span>`;
    const parts = [words("keep", "● truths"), words("lie", "◆ lies"), words("lie", moved ? "╌ memory" : "━ memory")];
    if (moved) parts.push(words(method === "ga" ? "bad" : "answer", `━ ${CURVES[method]}`));
    if (step >= FEWER) parts.push(words("keep", "╌ source of the truths"));
    return parts.join("");
  }

  function render() {
    const { method } = state, moved = method !== "star" && method !== "gd";
    const now = { moved, from: net.star(heights()), c: weights(net, method, heights(), way(), num(lam())) };
    drawChart(now);
    drawStrip(now);
    drawNorms();
    drawSlider();
    $("legend").innerHTML = legend(moved);
    readings($("read"), numbersOf(now));
    $("proofbox").style.display = isAnswer() ? "" : "none";
    if (isAnswer()) refreshProof();
  }
  set({});
}

start();
