// Two players, as a reader sees them.

import { clamp, fmt, hex, num, percent, q, short } from "../kit/numbers.mjs";
import { ARROWS, Plane } from "../kit/plane.mjs";
import { $, interval, number, oneOf, page, proofBox, radios, readings, verdict } from "../kit/page.mjs";
import { NORMS, along, best, certificateOf, claimed, extent, play, polar, problemOf, scene } from "./math.mjs";
import { View } from "./space.mjs";

const SPACE = 0, POINT = 1, LIE = 4;
const GRID = 20, FINE = 40, HUNDRED = 100, WIDE = 2.3, TINY = 1e-9; // samples in twentieths, the own point in fortieths, nu in hundredths
const BUTTONS = { l2: "● ℓ2", l1: "◆ ℓ1", linf: "■ ℓ∞", group: "⧫ group" };

function start() {
  const small = matchMedia("(max-width: 560px)"), square = (width) => width * (small.matches ? 0.62 : 1);
  const tall = (box) => (width) => ($(box).parentNode === $("beside") ? square(width) : width * 0.7);
  const space = new Plane($("space"), { x: [-WIDE, WIDE], tall: square });
  const dual = new Plane($("dual"), { x: [-1.75, 1.75], tall: tall("dualbox") }), data = new Plane($("data"), { x: [-2.1, 2.1], tall: tall("databox") });
  const bar = new Plane($("bar"), { x: [-0.08, 2.2], y: [0, 1], tall: () => 84 });
  const places = { x1: -14, y1: 16, x2: 18, y2: 12, x3: 2, y3: -24 };
  const fields = {
    norm: oneOf("l2", "l1", "linf", "group"),
    ...Object.fromEntries(Object.entries(places).map(([key, at]) => [key, number(at, key[0] === "x" ? -36 : -28, key[0] === "x" ? 36 : 28)])),
    yaw: number(28, -3600, 3600), pitch: number(16, -80, 80),
    mine: number(24, -90, 90), n1: number(10, -160, 160), n2: number(30, -160, 160), played: number(0, 0, 1),
  };

  // ---------------------------------------------------------------- the state, in fractions

  const list = (s, letter) => [1, 2, 3].map((k) => q(s[`${letter}${k}`], GRID));
  const here = () => scene(list(state, "x"), list(state, "y")), labels = () => list(state, "y").slice(0, 2);
  const foot = ({ star, n }) => best(star, n, "l2"); // the own point is counted from here, so that it stays when theta* moves
  const mine = (s) => along(s.star, s.n, foot(s).plus(q(state.mine, FINE)));
  const nu = () => [q(state.n1, HUNDRED), q(state.n2, HUNDRED)];
  const apart = (s) => new Set([s.x1, s.x2, s.x3]).size === 3 && Math.abs(s.x1 - s.x2) >= 8 && s.y1 !== 0 && s.y2 !== 0;

  // ---------------------------------------------------------------- what moves

  const enter = (step, all) => ({ played: step === LIE || (all && step === LIE - 1) ? 1 : 0 });
  const { state, set } = page({ fields, enter, render, planes: [space, dual, data, bar], allowed: apart });
  let view = new View(space, state.yaw, state.pitch);

  const sample = (k, label, cls) => data.handle({
    label, cls, square: k === 3, size: k === 3 ? 8 : 9, step: 1 / GRID,
    at: () => [state[`x${k}`] / GRID, state[`y${k}`] / GRID],
    says: () => `x ${fmt(state[`x${k}`] / GRID)}, y ${fmt(state[`y${k}`] / GRID)}`,
    move: ([u, v]) => {
      const to = { [`x${k}`]: clamp(Math.round(u * GRID), -36, 36), [`y${k}`]: clamp(Math.round(v * GRID), -28, 28) };
      if (apart({ ...state, ...to })) set({ ...to, played: state.step === LIE ? 1 : 0 });
    },
  });
  const slide = (to) => set({ mine: clamp(to, -90, 90), played: 0 });
  const handles = {
    samples: [sample(1, "First sample to keep", "f-keep"), sample(2, "Second sample to keep", "f-keep"), sample(3, "Sample to forget", "f-lie")],
    mine: space.handle({
      label: "Your point, on the line", cls: "f-mine", size: 10, axis: 1,
      at: () => view.flat(mine(here()).map(num)),
      says: () => `size ${fmt(extent(mine(here()).map(num), state.norm))}`,
      move: ([u, v]) => {
        const s = here(), from = view.flat(s.star.map(num)), n = view.flat(s.n.map(num));
        const t = ((u - from[0]) * n[0] + (v - from[1]) * n[1]) / (n[0] ** 2 + n[1] ** 2 || 1);
        slide(Math.round((t - num(foot(s))) * FINE));
      },
      keys: (right, up) => { // along the line, towards where the key points
        const n = view.flat(here().n.map(num)), by = right * n[0] + up * n[1];
        if (Math.abs(by) > 0.05 * Math.max(Math.abs(right), Math.abs(up))) slide(state.mine + Math.sign(by) * Math.max(Math.abs(right), Math.abs(up)));
      },
    }),
    nu: dual.handle({
      label: "Multipliers", cls: "f-proof", step: 0.02,
      at: () => [state.n1 / HUNDRED, state.n2 / HUNDRED],
      move: ([u, v]) => set({ n1: clamp(Math.round(u * HUNDRED), -160, 160), n2: clamp(Math.round(v * HUNDRED), -160, 160), played: 0 }),
    }),
  };
  turning($("space"), () => state, set);
  const drawNorms = radios(document.querySelectorAll("[data-norms]"), Object.entries(BUTTONS), () => state.norm, (norm) => set({ norm, ...enter(state.step) }));
  $("play").onclick = () => set({ played: 1 });

  const shown = () => { // the pair that is on show, and what is claimed of it
    const s = here(), second = state.step > POINT;
    if (state.played) return { s, ...play(s, labels(), state.norm) };
    const value = claimed(nu(), labels());
    return { s, theta: mine(s), nu: nu(), rim: nu().map(num), claims: { proof: "repaired", ...(second && value.sign() > 0 ? { lower: hex(value) } : {}) } };
  };
  const refreshProof = proofBox({
    problem: () => problemOf(here(), state.norm),
    certificate: () => { const { theta, nu, claims } = shown(); return certificateOf(theta, nu, claims); },
  });

  // ---------------------------------------------------------------- the pictures

  // Beside the space stands what the step is about, the other one below.
  function arrange(step) {
    const [beside, below] = step > POINT && step < LIE ? ["dualbox", "databox"] : ["databox", "dualbox"];
    if ($(beside).parentNode !== $("beside")) {
      $("pair").prepend($(below));
      $("beside").append($(beside));
      for (const plane of [dual, data]) plane.measure();
    }
    for (const id of ["dualbox", "dual"]) $(id).style.display = step > POINT ? "" : "none";
    $("pair").className = step > POINT ? "pair" : "pair alone";
  }

  function drawSpace({ s, step, star, point, size, bound, top, who }) {
    const n = s.n.map(num), r = step === SPACE ? 0 : size, pieces = [];
    space.draw("back", view.axis(0, "a", 2.1), view.axis(1, "b", 2.1), view.axis(2, "c", 2.1));
    for (let k = -60; k < 60; k++) pieces.push(view.segment(...[k, k + 1].map((m) => top.map((v, j) => v + n[j] * m * 0.06)), r, state.norm));
    space.draw("main", r > 0 && view.body(r, state.norm, `s-${who} f-${who}`), bound > 0.02 && !state.played && view.body(bound, state.norm, "s-proof f-proof"), pieces);
    handles.mine(step > SPACE && !state.played);
    space.draw("front", space.dot(view.flat(star), 8, "f-lie"), state.played && space.dot(view.flat(point), 10, "f-answer"),
      space.name(view.flat(star), "θ*", "f-lie"), state.played && space.name(view.flat(point), "θ̃", "f-answer"));
  }

  function drawDual({ rows, y, rim, refused, step }) {
    const edge = Array.from({ length: 241 }, (_, k) => {
      const u = [Math.cos(k * Math.PI / 120), Math.sin(k * Math.PI / 120)], length = polar([0, 1, 2].map((j) => u[0] * rows[0][j] + u[1] * rows[1][j]), state.norm);
      return u.map((v) => v / length);
    });
    const long = Math.hypot(...y) || 1, cls = refused ? "s-bad" : "s-proof", second = step > POINT;
    dual.draw("back", dual.grid(["ν₁", "ν₂"]), dual.polygon(edge, "area s-proof f-proof"));
    dual.draw("main", dual.line(y, rim[0] * y[0] + rim[1] * y[1], `thin dash ${cls}`), dual.arrow(rim, rim.map((v, i) => v + 0.42 * y[i] / long), `thin ${cls}`));
    handles.nu(second && !state.played);
    dual.draw("front", state.played && dual.dot(rim, 10, "f-answer"),
      refused && dual.text([0, dual.y[0]], "outside: proves nothing", "big f-bad", [0, -14], "middle"));
  }

  function drawData({ star, point, step, who }) {
    const model = (p, cls) => data.path(Array.from({ length: 43 }, (_, k) => { const x = k / 10 - 2.1; return [x, p[0] + p[1] * x + p[2] * x * x]; }), cls);
    data.draw("back", data.grid(["x", "y"]));
    data.draw("main", model(star, "line s-lie dash"), step > SPACE && model(point, `line s-${who}`));
    for (const draw of handles.samples) draw();
    data.draw("front", [1, 2].map((k) => data.name([state[`x${k}`] / GRID, state[`y${k}`] / GRID], `keep ${k}`, "f-keep")), data.name([state.x3 / GRID, state.y3 / GRID], "forget", "f-lie"));
  }

  // ---------------------------------------------------------------- the numbers

  function rowsOf({ step, theta, point, size, bound, refused, gap, value }) {
    const zeros = point.filter((v) => Math.abs(v) < TINY).length, fractions = state.played && state.norm !== "group";
    const weights = ["Weights (a, b, c)", fractions ? theta.map(short).join(", ") : point.map((v) => fmt(v)).join(", "), zeros ? `${zeros} of 3 are 0` : ""];
    if (step === SPACE) return [["Error on both to keep", "0", "on the whole line"]];
    const from = [`Size, from above (${NORMS[state.norm]})`, fmt(size, 4), step > POINT ? "something this large fits" : size < value * 1.004 ? "as small as can be" : "the line still enters the shape"];
    if (step === POINT) return [weights, from];
    const apart = gap === 0 ? "0" : gap < 1e-3 ? gap.toExponential(0).replace("-", "−") : percent(gap, 1);
    return [weights, from, ["Bound, from below", refused ? "none" : fmt(bound, 4), refused ? "ν left its shape" : "nothing smaller fits: proved"],
      ["Gap", refused ? "–" : apart, refused ? "" : gap === 0 ? "proved, exactly" : gap < 1e-12 ? "proved, enclosed" : "what is left to doubt"]];
  }

  // What the checker says of the pair on show: bounds, or a refusal.
  function judged({ s, theta, nu, claims }) {
    const { found, refused } = verdict(problemOf(s, state.norm), () => certificateOf(theta, nu, claims));
    const own = state.played || !claims.lower ? null : claimed(nu, labels());
    if (refused) return { refused, words: `The checker refuses: ${refused}.`, bound: 0, gap: 1 };
    const low = state.played ? found.lower : own, size = num(found.upper), bound = low === null ? 0 : num(low);
    const gap = state.played ? num(found.gap) : 1 - bound / size;
    const apart = gap === 0 ? "gap exactly 0" : gap < 1e-3 ? `gap ${gap.toExponential(1).replace("-", "−")}` : `gap ${percent(gap, 1)}`;
    return { refused: "", words: `The checker: the smallest size lies between ${fmt(bound, 6)} and ${fmt(size, 6)}; ${apart}.`, bound, gap };
  }

  function render() {
    view = new View(space, state.yaw, state.pitch);
    const pair = shown(), { s, theta, rim } = pair, { step, norm } = state, point = theta.map(num), rows = s.rows.map((r) => r.map(num));
    const top = along(s.star, s.n, best(s.star, s.n, norm)).map(num), size = extent(point, norm), second = step > POINT;
    const found = second ? judged(pair) : { refused: "", words: "", bound: 0, gap: 1 };
    arrange(step);
    const now = { ...found, s, step, theta, point, rows, y: labels().map(num), rim, star: s.star.map(num), size, top, value: extent(top, norm), who: state.played ? "answer" : "mine" };
    drawSpace(now);
    drawDual(now);
    drawData(now);
    drawNorms();
    $("bar").style.display = step > SPACE ? "" : "none";
    interval(bar, found.bound, size, { cls: now.who, proved: "nothing smaller fits", fits: "this fits" });
    readings($("read"), rowsOf(now));
    $("grade").className = `verdict ${found.refused ? "bad" : "proof"}`;
    $("grade").textContent = found.words;
    $("proofbox").style.display = second ? "" : "none";
    if (second) refreshProof();
  }
  set({});
}

// The background of the space turns it: by mouse, finger and arrow keys.
function turning(svg, get, set) {
  let from = null;
  const turn = (yaw, pitch) => set({ yaw: clamp(Math.round(yaw), -3600, 3600), pitch: clamp(Math.round(pitch), -80, 80) });
  svg.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".handle")) return;
    from = [event.clientX, event.clientY, get().yaw, get().pitch];
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (from && svg.hasPointerCapture(event.pointerId)) turn(from[2] - (event.clientX - from[0]) / 3, from[3] + (event.clientY - from[1]) / 3);
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { from = null; });
  svg.addEventListener("keydown", (event) => {
    if (event.target !== svg || !(event.key in ARROWS)) return;
    const [right, up] = ARROWS[event.key];
    event.preventDefault();
    turn(get().yaw - 6 * right, get().pitch + 6 * up);
  });
}

start();
