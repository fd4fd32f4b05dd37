// Shadow of the weights, as a reader sees it.

import { roots } from "../checker/rational.mjs";
import { clamp, fmt, fraction, hex, num, percent, q, short } from "../kit/numbers.mjs";
import { Plane, arrowPath } from "../kit/plane.mjs";
import { $, animate, interval, oneOf, page, proofBox, radios, readings, verdict, number } from "../kit/page.mjs";
import { NORMS, certificateOf, dualLength, length, problemOf, solve, through, walk } from "./math.mjs";

const ONE_SAMPLE = 0, TWO = 1, GRADIENT = 2, GUESS = 3, BOUNDS = 4, CHOICE = 5, LIE = 6;
const WIDE = 2.6, GRID = 20, FINE = 40, HUNDRED = 100; // samples in twentieths, the own point in fortieths
const BUTTONS = { l2: "○ ℓ2", l1: "◇ ℓ1", linf: "□ ℓ∞" };

function start() {
  const small = matchMedia("(max-width: 560px)");
  const size = () => ({ x: [-WIDE, WIDE], tall: (width) => width * (small.matches ? 0.58 : 0.96) });
  const data = new Plane($("data"), size()), weights = new Plane($("weights"), size());
  const bar = new Plane($("bar"), { x: [-0.1, 2.4], y: [0, 1], tall: () => 84 });
  const fields = {
    norm: oneOf("l2", "l1", "linf"),
    xr: number(10, -48, 48), yr: number(26, -29, 29), xf: number(-24, -48, 48), yf: number(-18, -29, 29),
    mine: number(-20, -60, 60), // slope of the own model
    inner: number(30, 0, 300), ball: number(0, 0, HUNDRED),
    trail: oneOf("none", "gd", "ga", "gd0"),
  };

  // ---------------------------------------------------------------- the state, in fractions

  const keep = (s) => [q(s.xr, GRID), q(s.yr, GRID)], forget = (s) => [q(s.xf, GRID), q(s.yf, GRID)];
  const star = (s) => through(keep(s), forget(s));
  const answer = (s) => solve(...keep(s), s.norm);
  const mine = (s) => { // on the answer itself where that is nearer than the grid is fine
    const [x, y] = keep(s), best = answer(s).theta, near = Math.round(num(best[1]) * FINE) === s.mine;
    const b = q(s.mine, FINE);
    return near ? best : [y.minus(b.times(x)), b];
  };
  const inside = ([a, b]) => Math.abs(num(a)) < WIDE - 0.1 && Math.abs(num(b)) < 1.5;
  const allowed = (s) => s.xf !== s.xr && inside(mine(s));
  const attempt = (patch) => { // the own point stays in the picture
    const next = { ...state, ball: state.step >= CHOICE ? HUNDRED : 0, trail: "none", ...patch };
    while (!inside(mine(next)) && next.mine !== 0) next.mine -= Math.sign(next.mine);
    if (allowed(next)) set(next);
  };
  const problem = () => problemOf(keep(state)[0], star(state), state.norm);
  const ours = () => {
    const { theta, nu, unique } = answer(state);
    return certificateOf(theta, nu, { proof: "exact", gap: "0", unique });
  };
  // The largest radius of the inner shape is the size itself: where that is no fraction, just below it.
  const radius = () => {
    const low = roots(answer(state).size2)[0];
    return Math.round(num(low) * HUNDRED) === state.inner ? low : q(state.inner, HUNDRED);
  };
  const claim = () => verdict(problem(), () => certificateOf(mine(state), answer(state).nu, { proof: "repaired", lower: hex(radius()) }));
  const graded = () => verdict(problem(), () => certificateOf(mine(state), answer(state).nu, { proof: "repaired" })).found;

  // ---------------------------------------------------------------- what moves

  let stop = () => {};
  const enter = (step, all) => {
    const opening = { trail: "none", ball: step >= CHOICE ? HUNDRED : 0 };
    return { ...opening, ...(all ? { [GRADIENT]: { trail: "gd0" }, [GUESS]: { ball: HUNDRED }, [BOUNDS]: { inner: 100 }, [CHOICE]: { norm: "l1" } }[step] : {}) };
  };
  const { state, set } = page({ fields, enter, begin: () => stop(), render, planes: [data, weights, bar], allowed });

  const sample = (kind, label, cls, square) => data.handle({
    label, cls, square, size: square ? 8 : 9, step: 1 / GRID,
    at: () => [state[`x${kind}`] / GRID, state[`y${kind}`] / GRID],
    says: () => `x ${fmt(state[`x${kind}`] / GRID)}, y ${fmt(state[`y${kind}`] / GRID)}`,
    move: ([u, v]) => attempt({ [`x${kind}`]: clamp(Math.round(u * GRID), -48, 48), [`y${kind}`]: clamp(Math.round(v * GRID), -29, 29) }),
  });
  const slope = (b) => attempt({ mine: clamp(b, -60, 60) });
  const handles = {
    keep: sample("r", "Sample to keep", "f-keep", false),
    forget: sample("f", "Sample to forget", "f-lie", true),
    mine: weights.handle({
      label: "Your model, on the line of perfect models", cls: "f-mine", size: 10, axis: 1,
      at: () => mine(state).map(num),
      says: () => `a ${fmt(num(mine(state)[0]))}, b ${fmt(num(mine(state)[1]))}, size ${fmt(length(mine(state).map(num), state.norm))}`,
      move: ([u, v]) => { // to the nearest point of the line
        const [x, y] = keep(state).map(num);
        slope(Math.round((v - (u - y) * x) / (1 + x * x) * FINE));
      },
      keys: (right, up) => { // along the line, towards where the key points
        const falls = -Math.sign(state.xr || -1);
        slope(state.mine + up + right * falls);
      },
    }),
  };
  const drawNorms = radios(document.querySelectorAll("[data-norms]"), Object.entries(BUTTONS), () => state.norm, (norm) => {
    stop();
    set({ norm, ball: state.step >= CHOICE ? HUNDRED : 0 });
  });
  $("inflate").onclick = () => {
    stop();
    stop = animate(1100, (t) => set({ ball: Math.round(t * HUNDRED) }));
  };
  for (const kind of ["gd", "ga", "gd0"]) $(kind).onclick = () => set({ trail: kind });
  $("inner").oninput = () => set({ inner: Number($("inner").value) });
  const refreshProof = proofBox({ problem, certificate: ours });

  // ---------------------------------------------------------------- the pictures

  function shape(r, cls) {
    if (r <= 0) return "";
    if (state.norm === "l2") return weights.circle(r, cls);
    return weights.polygon(state.norm === "l1" ? [[r, 0], [0, r], [-r, 0], [0, -r]] : [[r, r], [-r, r], [-r, -r], [r, -r]], cls);
  }

  function look() { // what the pictures and the numbers show, in floats
    const { step } = state, found = answer(state), settled = state.ball === HUNDRED;
    const trail = state.trail === "none" ? [] : walk(state.trail, star(state).map(num), keep(state).map(num), forget(state).map(num));
    return {
      step, found, settled, trail,
      keep: keep(state).map(num), forget: forget(state).map(num), star: star(state).map(num), own: mine(state).map(num),
      best: found.theta.map(num), value: Math.sqrt(num(found.size2)),
      playing: step === ONE_SAMPLE || step === GUESS || step === BOUNDS,
      claim: step === BOUNDS ? claim() : null,
    };
  }

  function drawData(now) {
    const { step, keep, forget, star, own, best, settled, trail } = now;
    const model = ([a, b], cls) => data.path([[-WIDE, a - b * WIDE], [WIDE, a + b * WIDE]], cls);
    const fan = step === ONE_SAMPLE ? [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2].map((b) => model([keep[1] - b * keep[0], b], "hair s-keep")) : [];
    data.draw("back", data.grid(["x", "y"]));
    data.draw("main", fan,
      step >= TWO && model(star, `line s-lie${step >= GRADIENT ? " dash" : ""}`),
      trail.length && model(trail.at(-1), `line s-${state.trail === "ga" ? "bad" : "keep"}`),
      now.playing && model(own, "line s-mine"),
      settled && model(best, "line s-answer"));
    handles.keep();
    handles.forget(step >= TWO);
    if (step >= TWO) data.mark(forget);
    data.draw("front", data.name(keep, "keep", "f-keep"), step >= TWO && data.name(forget, step === TWO ? "also learned" : "forget", "f-lie"));
  }

  function drawWeights(now) {
    const { step, keep, forget, star, own, best, value, settled, trail, found } = now, [x, y] = keep, ascent = state.trail === "ga";
    const arrows = [];
    for (let a = -2.4; step === GRADIENT && a < 2.5; a += 0.6) {
      for (let b = -1.8; b < 1.9; b += 0.6) {
        const by = (a + b * x - y) * 0.1;
        arrows.push(weights.arrow([a, b], [a - by, b - by * x], "thin s-soft"));
      }
    }
    const face = state.norm === "l1" ? [[y, 0], [0, x ? y / x : 0]] : [[y, value], [y, -value]]; // what touches, where there are many answers
    weights.draw("back", weights.grid(["a", "b"]), arrows);
    weights.draw("main",
      (step === GUESS || step === BOUNDS) && !settled && shape(length(own, state.norm), "thin s-mine"),
      state.ball > 0 && shape(value * state.ball / HUNDRED, "area s-answer f-answer"),
      step === BOUNDS && shape(num(radius()), `area ${now.claim.refused ? "s-bad f-bad" : "s-proof f-proof"}`),
      step >= TWO && weights.line([1, forget[0]], forget[1], "thin s-lie dash"),
      weights.line([1, x], y, "line s-keep"),
      trail.length && weights.path(trail, `line s-${ascent ? "bad" : "mine"}`),
      settled && !found.unique && weights.path(face, "line s-answer"));
    handles.mine(now.playing);
    const visible = ([a, b]) => Math.abs(a) < WIDE && Math.abs(b) < weights.y[1];
    const seen = (p) => visible(p) && p[0] > 0.3 - WIDE && p[0] < WIDE - 0.9;
    const lineName = [-1.3, 1.2, -0.7, 0.7, 0].map((b) => [y - b * x, b]).find(seen) ?? [y, 0];
    weights.draw("front",
      step >= TWO && (visible(star) ? weights.dot(star, 8, "f-lie") : weights.text([WIDE, weights.y[1]], "θ* is outside", "big f-lie", [-8, 20], "end")),
      trail.length > 1 && weights.dot(trail.at(-1), 8, ascent ? "f-bad" : "f-mine"),
      settled && weights.dot(best, 10, "f-answer"),
      step >= TWO && visible(star) && weights.name(star, state.trail === "gd" ? "θ* stays" : "θ*", "f-lie"),
      settled && weights.name(best, "θ̃", "f-answer"),
      weights.name(lineName, "fits keep", "f-keep"),
      step === BOUNDS && now.claim.refused && weights.text([WIDE, weights.y[0]], small.matches ? "proves nothing" : "crosses the line: proves nothing", "big f-bad", [-8, -14], "end"),
      step === BOUNDS && dualPicture(now));
  }

  // The multiplier times the gradient (1, x), and the dual shape that it must not leave, in the corner that is freest.
  function dualPicture({ keep: [x, y], own, claim: { refused } }) {
    const k = small.matches ? 24 : 38, w = 1.9 * k, h = 2.1 * k, { width, height } = weights;
    const pixels = ([a, b]) => [weights.X(a), weights.Y(b)], busy = [own, ...[-1, -0.5, 0, 0.5, 1].map((b) => [y - b * x, b])].map(pixels);
    const room = ([u, v]) => Math.min(...busy.map(([a, b]) => Math.hypot(a - u, b - v)));
    const corners = [[w + 8, height - h - 8], [width - w - 8, height - h - 8], [w + 8, h + 8], [width - w - 8, h + 8]];
    const [cx, cy] = corners.reduce((best, corner) => (room(corner) > room(best) + 1 ? corner : best));
    const nu = y ? num(radius()) / y : 0, g = [nu, nu * x], over = Math.max(1, dualLength(g, state.norm) / 1.5); // a long arrow is cut
    const corner = { linf: [[1, 0], [0, 1], [-1, 0], [0, -1]], l1: [[1, 1], [-1, 1], [-1, -1], [1, -1]] }[state.norm];
    const cls = refused ? "bad" : "proof", tip = [cx + k * g[0] / over, cy - k * g[1] / over];
    const outline = corner ? `<path class="area s-proof f-proof" d="M${corner.map(([a, b]) => `${cx + k * a} ${cy - k * b}`).join("L")}Z"/>`
      : `<circle cx="${cx}" cy="${cy}" r="${k}" class="area s-proof f-proof"/>`;
    const words = `ν = ${fmt(nu)}${refused && !small.matches ? ": outside" : ""}`;
    return [`<rect x="${cx - w}" y="${cy - h}" width="${2 * w}" height="${2 * h}" rx="8" class="card-back"/>`, outline,
      Math.hypot(...g) > 0.02 && arrowPath([cx, cy], tip, `line s-${cls}`, Math.min(8, k * Math.hypot(...g) / over / 2)),
      `<text x="${cx}" y="${cy + h - 8}" text-anchor="middle" class="f-${cls}">${words}</text>`];
  }

  // ---------------------------------------------------------------- the numbers

  const miss = ([a, b], [x, y]) => Math.abs(a + b * x - y);

  function errors({ step, trail, star, keep, forget }) {
    if (step === ONE_SAMPLE) return [];
    const end = trail.at(-1) ?? star, when = { none: "at θ*", gd: "after 80 steps", ga: "after ascent", gd0: "after descent from 0" }[state.trail];
    const [kept, gone] = [miss(end, keep), miss(end, forget)];
    return [[`Error on keep ${when}`, fmt(kept, 3), kept < 5e-4 ? "nothing left to learn" : "broken"],
      [`Error on forget ${when}`, fmt(gone, 3), gone < 5e-4 ? "it still knows" : state.trail === "gd0" ? "as if it had never seen it" : "no longer known"]];
  }

  function sizes(now) {
    const { step, own, found, settled, value } = now, name = NORMS[state.norm], known = settled || step >= CHOICE;
    const exactly = roots(found.size2), words = exactly[0].equals(exactly[1]) ? short(exactly[0]) : `√(${fraction(found.size2)})`;
    if (!known) {
      const rows = [[`Size of your point (${name})`, fmt(length(own, state.norm), 3), "something this large fits"],
        ["Your weights (a, b)", own.map((v) => fmt(v)).join(", "), "they meet the sample to keep"]];
      if (step === GUESS) return rows;
      const { refused, found: bound } = now.claim, gap = length(own, state.norm) - num(radius());
      const met = !refused && bound.gap.n === 0n && gap < 1e-9;
      return [rows[0], ["Your bound", refused ? "none" : fmt(num(radius()), 3), refused ? `the checker: ${refused}` : "nothing smaller fits: proved"],
        ["Between them", refused ? "–" : met ? "0" : percent(gap / length(own, state.norm), gap < 0.1 ? 1 : 0), met ? "they meet: proved" : "the optimum lies in between"]];
    }
    return [[`Size of θ̃ (${name})`, fmt(value, 3), `exactly ${words}, proved`],
      ["Its weights (a, b)", found.theta.map(short).join(", "), found.unique ? "the only answer" : "one of many answers"],
      ...(step === LIE ? [["Its error on forget", fmt(miss(now.best, now.forget), 3), "θ̃ never saw it"]] : [])];
  }

  function grade(now) {
    if (now.step !== GUESS || !now.settled) return "";
    const { lower, upper, gap } = graded();
    if (gap.n === 0n) return "The checker: nothing is smaller. You found it.";
    return lower.n === 0n ? "The checker: it fits, but 0 fits as well." : `The checker: it fits, and is ${percent(num(upper) / num(lower) - 1)} too large.`;
  }

  function drawBar(now) {
    const { step, settled, value, own } = now, known = settled || step >= CHOICE, high = known ? value : length(own, state.norm);
    $("bar").style.display = step >= GUESS ? "" : "none";
    const low = known ? value : step === BOUNDS && !now.claim.refused ? num(radius()) : 0;
    interval(bar, low, high, { cls: known ? "answer" : "mine", proved: "nothing smaller fits", fits: "this fits" });
  }

  function render() {
    const now = look(), { step } = now;
    drawData(now);
    drawWeights(now);
    drawBar(now);
    drawNorms();
    for (const kind of ["gd", "ga", "gd0"]) $(kind).setAttribute("aria-pressed", state.trail === kind);
    $("grade").textContent = grade(now);
    $("innerslide").style.display = step === BOUNDS ? "" : "none";
    $("inner").value = state.inner;
    $("innerout").textContent = fmt(num(radius()), 3);
    readings($("read"), step >= GUESS ? sizes(now) : step === ONE_SAMPLE
      ? [["Error on keep", fmt(miss(now.own, now.keep), 3), "whatever point of the line"], ["Your weights (a, b)", now.own.map((v) => fmt(v)).join(", "), ""]] : errors(now));
    $("proofbox").style.display = step >= GUESS ? "" : "none";
    if (step >= GUESS) refreshProof();
  }
  set({});
}

start();
