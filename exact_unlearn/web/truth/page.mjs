// Whose truth?, as a reader sees it.

import { clamp, fmt, num, q } from "../kit/numbers.mjs";
import { Plane } from "../kit/plane.mjs";
import { $, number, oneOf, page, proofBox, radios, readings, verdict } from "../kit/page.mjs";
import { FITS, RIVALS, answerOf, certificateOf, memory, missed, output, problemOf, rivals, scene, size } from "./math.mjs";

const ANSWER = 1, OTHERS = 2, PROOF = 6;
const WHO = ["star", "answer", "long", "short", "anew", "short", "answer"]; // whose curve a step begins with
const WIDE = 3.7, TALL = 2.7, HIGHEST = 2;
const REST = 200;

function start() {
  const net = scene(JSON.parse($("numbers").textContent)), { places, numbers } = net, { lie, moved, grid: GRID } = numbers, half = (net.side - 1) / 2;
  const small = matchMedia("(max-width: 560px)");
  const chart = new Plane($("chart"), { x: [-WIDE, WIDE], y: [-TALL, TALL], tall: (width) => width * (small.matches ? 0.62 : 0.48) });
  const fields = {
    who: oneOf("star", "answer", ...Object.keys(RIVALS)),
    a: number(half - 1, -half, half), b: number(1 - half, -half, half), l: number(GRID + 1, -HIGHEST * GRID, HIGHEST * GRID),
  };
  const enter = (step) => ({ who: WHO[step] });
  const { state, set } = page({ fields, enter, render, planes: [chart] });
  const handle = (key, i, most, label, look) => chart.handle({
    label, axis: 1, ...look,
    at: () => [places[i], state[key] / GRID],
    says: () => `y ${fmt(state[key] / GRID)}`,
    move: ([, v]) => set({ [key]: clamp(Math.round(v * GRID), -most, most) }),
    keys: (right, up) => set({ [key]: clamp(state[key] + up, -most, most) }),
  });
  const handles = [
    handle("l", lie, HIGHEST * GRID, "The lie", { cls: "f-lie", square: true, size: 8 }),
    ...moved.map((i, k) => handle("ab"[k], i, half, `Truth at x = ${fmt(places[i], 0)}`, { cls: "f-keep" })),
  ];
  const drawWho = radios([$("who")], Object.entries(RIVALS), () => state.who, (who) => set({ who }));

  const given = () => [q(state.a, GRID), q(state.b, GRID)], answer = () => net.state(state.a + half, state.b + half);
  const problem = () => problemOf(net, net.kept(given())), certificate = () => certificateOf(net, answer());
  const refreshProof = proofBox({ problem, certificate });

  // ---------------------------------------------------------------- what takes a while waits for the hand to rest

  let known = {}, timer = 0;
  function found(heights, star) {
    const key = heights.join(" ");
    clearTimeout(timer);
    if (known.key === key) return known;
    if (document.querySelector(".handle.held") && known.key) {
      timer = setTimeout(() => { known = measured(key, heights, star); set({}); }, REST);
      return null;
    }
    return (known = measured(key, heights, star));
  }
  function measured(key, heights, star) {
    const { found, refused } = verdict(problem(), certificate);
    return { key, ...rivals(net, heights, star), proof: found ? { least: num(found.lower), gap: num(found.gap) } : { refused } };
  }

  // ---------------------------------------------------------------- the picture and the numbers

  function curve(theta, cls) {
    const bends = theta.flatMap((_, j) => (j % 3 === 1 && theta[j] !== 0 ? [-theta[j + 1] / theta[j]] : []));
    const all = [-WIDE, ...[...bends].filter((s) => Math.abs(s) < WIDE).sort((u, v) => u - v), WIDE];
    return chart.path(all.map((s) => [s, clamp(output(theta, s), -9 * TALL, 9 * TALL)]), cls);
  }

  function drawChart(star, best, rival) {
    const { step } = state;
    chart.draw("back", chart.grid(["x", "y"]));
    chart.draw("main", curve([...star], `line s-lie${step >= ANSWER ? " dash" : ""}`), rival && curve([...rival], "line s-mine"), step >= ANSWER && curve(best, "line s-answer"));
    chart.draw("front", Object.keys(numbers.fixed).map((i) => chart.dot([places[i], heightsNow()[i]], small.matches ? 4.5 : 5.5, "f-keep")));
    for (const draw of handles) draw();
  }

  function heightsNow() {
    const kept = net.kept(given()).map(num);
    return places.map((_, i) => (i === lie ? state.l / GRID : kept[net.stays.indexOf(i)]));
  }

  function measure(theta, least, x, y) {
    const miss = missed(theta, x, y), times = size(theta) / least;
    return [`${fmt(times, times < 100 ? 2 : 0)} ×`, miss < FITS ? "meets the truths" : `misses one by ${fmt(miss, miss < 100 ? 2 : 0)}`];
  }

  function render() {
    const { step, who } = state, heights = heightsNow(), star = memory(net, heights), best = answerOf(answer()), now = found(heights, star);
    const x = net.stays.map((i) => places[i]), y = net.stays.map((i) => heights[i]), least = size(best), others = step >= OTHERS;
    drawChart(star, best, others && now?.[who]);
    const proved = now === null ? "when your hand rests" : now.proof.refused ? `not proved: ${now.proof.refused}` : `proved to ${now.proof.gap < 1e-9 ? "nine digits" : "few digits"}`;
    const all = missed(star, places, heights);
    const memorised = step >= ANSWER ? measure(star, least, x, y) : [all < FITS ? "0" : fmt(all), all < FITS ? "all six are met" : "one is missed"];
    readings($("read"), [[step >= ANSWER ? "The memory" : "Error on the samples", ...memorised],
      ...(step >= ANSWER ? [["The answer", `R = ${fmt(least, 3)}`, proved]] : []),
      ...(others ? Object.entries(RIVALS).map(([key, words]) => [words, ...(now ? measure(now[key], least, x, y) : ["…", ""])]) : [])]);
    const words = (cls, text) => `<span class="${cls}">${text}</span>`;
    $("legend").innerHTML = [words("keep", "● truths"), words("lie", "◆ the lie"), words("lie", step >= ANSWER ? "╌ memory" : "━ memory"),
      step >= ANSWER ? words("answer", "━ the answer") : "", others && who in RIVALS ? words("mine", `━ ${RIVALS[who]}`) : ""].join("");
    $("who").style.display = others ? "" : "none";
    drawWho();
    $("proofbox").style.display = step >= ANSWER ? "" : "none";
    if (step >= ANSWER) refreshProof();
  }
  set({});
}

start();
