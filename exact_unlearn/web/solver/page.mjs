// When the solver lies, as a reader sees it.

import { clamp, fmt, minus, percent } from "../kit/numbers.mjs";
import { Plane } from "../kit/plane.mjs";
import { $, number, oneOf, page, proofBox, radios, some } from "../kit/page.mjs";
import { FORMS, certificateOf, column, isProved, problemOf, score } from "./math.mjs";

const LAST = 4, BEGIN = [0, 3, 4, 3, 5]; // the condition number at which a step begins: 1, 1e6, 1e8, 1e6, 1e10
const MEANING = { holds: "proof", lie: "bad", admitted: "lie" };
const NONE = 2.2, FLOOR = -17, WRONG = -6; // heights in the chart, as powers of ten

function start() {
  const measured = JSON.parse($("numbers").textContent), { conditions, solvers } = measured;
  const small = matchMedia("(max-width: 560px)");
  const chart = new Plane($("chart"), { x: [-1, 14.7], y: [-18.6, 3.4], tall: (width) => width * (small.matches ? 0.6 : 0.36) });
  const fields = { form: oneOf(...Object.keys(FORMS)), at: number(0, 0, conditions.length - 1), shown: number(0, 0, 1), trust: some([], solvers.length) };
  const enter = (step, all) => ({ at: BEGIN[step], shown: all || step === LAST ? 1 : 0, trust: [] });
  const { state, set } = page({ fields, enter, render, planes: [chart] });
  const drawForms = radios([$("forms")], Object.entries(FORMS), () => state.form, (form) => set({ form, shown: 0, trust: [] }));
  $("condition").oninput = () => set({ at: Number($("condition").value), shown: 0, trust: [] });
  $("truth").onclick = () => set({ shown: 1 });
  const refreshProof = proofBox({ problem: () => problemOf(measured), certificate: () => certificateOf(measured) });
  const believe = (i) => set({ trust: state.trust.includes(i) ? state.trust.filter((k) => k !== i) : [...state.trust, i] });

  const height = (error) => (error === null ? NONE : clamp(Math.log10(Math.max(error, 1e-17)), FLOOR, NONE));
  const power = (k) => `1e${Math.round(Math.log10(conditions[k]))}`;

  // Right is a disc, a lie is a cross, doubt is a ring: the colours only repeat it.
  function mark(x, y, verdict, r) {
    const [u, v] = [chart.X(x), chart.Y(y)], cls = MEANING[verdict], at = (dx, dy) => `${(u + dx * r).toFixed(1)} ${(v + dy * r).toFixed(1)}`;
    if (verdict === "lie") return `<path class="line s-${cls}" d="M${at(-1, -1)}L${at(1, 1)}M${at(-1, 1)}L${at(1, -1)}"/>`;
    return `<circle class="${verdict === "holds" ? `f-${cls}` : `thin s-${cls}`}" cx="${u.toFixed(1)}" cy="${v.toFixed(1)}" r="${r}"/>`;
  }

  function drawChart() {
    const far = chart.width, ticks = conditions.map((_, k) => [chart.path([[2 * k, chart.y[0]], [2 * k, chart.y[1]]], k === state.at ? "axis" : "grid"),
      chart.text([2 * k, chart.y[0]], power(k), k === state.at ? "big" : "tick", [0, -6], "middle")]);
    const levels = [-12, WRONG, 0].map((k) => [chart.path([[chart.x[0], k], [chart.x[1], k]], "grid"), chart.text([chart.x[0], k], k === 0 ? "100 %" : `1e${minus(String(k))}`, "tick", [4, k === 0 ? 15 : -4])]);
    chart.draw("back", `<rect class="f-bad area" style="fill-opacity:.09" x="0" y="0" width="${far}" height="${chart.Y(WRONG).toFixed(1)}"/>`, ticks, levels,
      chart.text([chart.x[0], NONE], "“infeasible”", "tick", [4, 5]));
    const dots = [], line = [];
    conditions.forEach((_, k) => {
      const { ours, peers } = column(measured, state.form, k), seen = k < state.at || state.step === LAST || (k === state.at && state.shown);
      line.push([2 * k, height(ours.error)]);
      if (seen) peers.forEach(({ error, verdict }, i) => dots.push(mark(2 * k + (i - (peers.length - 1) / 2) * 0.24, height(error), verdict, k === state.at ? 6 : 4.5)));
    });
    chart.draw("main", state.step === LAST && chart.path(line, "line s-answer"), dots);
  }

  function off({ value, error }) { return value === null ? "Δ = 0 fits" : error < 0.001 ? `${minus(error.toExponential(0))} off` : `${percent(error, 1)} off`; }
  function note({ verdict, value, error }, on) {
    if (!state.shown) return on ? "you believe it" : "press to believe";
    if (verdict === "holds") return "right";
    if (verdict === "lie") return `a lie: ${off({ value, error })}`;
    return value === null ? "admits that it failed" : `admits doubt; ${off({ value, error })}`;
  }

  function drawCards(now) {
    const cards = $("cards");
    now.peers.forEach((cell, i) => {
      const button = cards.children[i] ?? cards.appendChild(document.createElement("button")), k = solvers.indexOf(cell.solver), on = state.trust.includes(k);
      const cls = state.shown ? MEANING[cell.verdict] : on ? "mine" : "keep";
      button.type = "button";
      button.className = "card";
      button.setAttribute("aria-pressed", on);
      button.onclick = () => { if (!state.shown) believe(k); };
      const html = `<small>${cell.solver}</small><b class="${cls}">“${cell.status.replaceAll("_", " ")}”</b>` +
        `<span>${cell.value === null ? "no value" : fmt(cell.value, 6)}</span><small class="${cls}">${note(cell, on)}</small>`;
      if (button.innerHTML !== html) button.innerHTML = html;
    });
    while (cards.children.length > now.peers.length) cards.lastChild.remove();
  }

  function render() {
    const now = column(measured, state.form, state.at), trusted = state.trust.map((k) => solvers[k]);
    drawChart();
    drawCards(now);
    drawForms();
    $("score").innerHTML = state.shown ? `<b class="proof">${fmt(now.best, 6)}</b>, proved (${now.proof}). ${score(now, trusted)}` : "";
    $("condition").value = state.at;
    $("condition").setAttribute("aria-valuetext", power(state.at));
    $("conditionout").textContent = power(state.at);
    $("truth").hidden = state.shown === 1;
    const open = state.shown === 1 && isProved(measured, state.form, state.at);
    $("proofbox").style.display = open ? "" : "none";
    if (open) refreshProof();
    $("ourline").hidden = state.step !== LAST;
  }
  set({});
}

start();
