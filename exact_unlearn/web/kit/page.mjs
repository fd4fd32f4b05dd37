// A page: one state, kept in the address; steps; a handout when it is printed; the proof, which the reader may break.

import { BASE, work } from "../checker/rational.mjs";
import { parseJson } from "../checker/problem.mjs";
import { check } from "../checker/checker.mjs";
import { clamp, fmt, short } from "./numbers.mjs";
import { LETTER } from "./plane.mjs";

const REST = 200; // milliseconds without a change after which the address is written: browsers allow few writes
const SLOW = 60; // a proof that takes longer waits for the hand to rest

export const $ = (id) => document.getElementById(id);
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// ---------------------------------------------------------------- what an address may hold

export const number = (start, low, high) => ({
  start,
  read: (text, otherwise = start) => (/^-?\d{1,6}$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : otherwise),
  write: String,
});
export const oneOf = (start, ...others) => ({
  start,
  read: (text, otherwise = start) => ([start, ...others].includes(text) ? text : otherwise),
  write: String,
});
export const some = (start, n) => ({ // numbers below n
  start,
  read: (text) => [...new Set(text.split(".").filter((x) => /^\d+$/.test(x) && Number(x) < n).map(Number))],
  write: (list) => list.join("."),
});

// ---------------------------------------------------------------- the page

// fields: name -> number | oneOf | some; `step` is added.  enter(i, all): the state in which step i begins; all: in a
// handout, where nobody presses buttons.  begin(i): what moves by itself then.  render(): draws everything.  planes:
// redrawn when their size changes.  allowed(state): whether an address may ask for it.
export function page({ fields, enter, begin = () => {}, render, planes, allowed = () => true }) {
  const sections = [...document.querySelectorAll(".step")], last = sections.length - 1;
  const known = { step: number(0, 0, last), ...fields };
  const initial = Object.fromEntries(Object.entries(known).map(([key, field]) => [key, field.start]));
  const state = { ...initial };
  let waiting = false, resting = 0, printing = false;

  const opening = (step, all = false) => ({ ...initial, step, ...enter(step, all) });
  const write = () => { // what differs from how the step begins
    clearTimeout(resting);
    const start = { ...opening(state.step), step: 0 }, text = (key, values) => known[key].write(values[key]);
    const changed = Object.keys(known).filter((key) => text(key, state) !== text(key, start));
    const hash = changed.length ? `#${new URLSearchParams(changed.map((key) => [key, text(key, state)]))}` : "";
    if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname + location.search);
  };
  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1)), start = opening(known.step.read(given.get("step") ?? "0"));
    Object.assign(state, start);
    for (const [key, field] of Object.entries(known)) if (given.has(key)) state[key] = field.read(given.get(key), start[key]);
    if (!allowed(state)) Object.assign(state, start);
  };
  const draw = () => {
    waiting = false;
    drawSteps();
    for (const plane of planes) plane.clear();
    render(state);
    if (printing) return;
    clearTimeout(resting);
    resting = setTimeout(write, REST);
  };
  const set = (patch) => {
    Object.assign(state, patch);
    if (!waiting && !printing) {
      waiting = true;
      requestAnimationFrame(draw);
    }
  };

  // Page Up and Page Down (what a presenter's remote sends) go through the steps.
  const go = (k) => {
    const step = clamp(k, 0, last);
    if (step === state.step) return;
    set({ step, ...enter(step) });
    begin(step);
  };
  sections.forEach((section, i) => {
    const name = `Step ${i + 1}: ${section.querySelector("h2").textContent}`;
    $("dots").insertAdjacentHTML("beforeend", `<li><button type="button"><i></i></button></li>`);
    $("dots").lastChild.firstChild.setAttribute("aria-label", name);
    $("dots").lastChild.firstChild.onclick = () => go(i);
  });
  $("back").onclick = () => go(state.step - 1);
  $("next").onclick = () => go(state.step + 1);
  $("reset").onclick = () => {
    set(opening(state.step));
    begin(state.step);
  };
  addEventListener("keydown", (event) => {
    const by = { PageDown: 1, PageUp: -1 }[event.key];
    if (!by || event.target.closest("textarea")) return;
    event.preventDefault();
    go(state.step + by);
  });
  function drawSteps() {
    sections.forEach((section, i) => {
      const here = i === state.step, dot = $("dots").children[i].firstChild;
      section.hidden = !here;
      if (here) dot.setAttribute("aria-current", "step");
      else dot.removeAttribute("aria-current");
    });
    const count = `Step ${state.step + 1} of ${sections.length}`;
    if ($("count").textContent !== count) $("count").textContent = count;
    $("back").disabled = state.step === 0;
    $("next").hidden = state.step === last;
    $("onward").hidden = state.step !== last;
  }

  // A handout shows every step with its own picture, as the step begins.
  const handout = (on) => {
    if (on === printing) return;
    document.querySelectorAll(".handout").forEach((old) => old.remove());
    if (on) {
      const before = { ...state };
      printing = true;
      sections.forEach((section, step) => {
        Object.assign(state, opening(step, true));
        draw();
        const copy = document.createElement("div");
        copy.className = "handout";
        copy.append(...[...document.querySelectorAll("[data-print]")].filter((e) => e.style.display !== "none").map((e) => e.cloneNode(true)));
        for (const button of copy.querySelectorAll("button")) button.outerHTML = `<div class="${button.className}">${button.innerHTML}</div>`;
        for (const e of copy.querySelectorAll("*")) for (const name of ["id", "data-print", "tabindex", "role"]) e.removeAttribute(name);
        section.append(copy);
      });
      Object.assign(state, before);
    }
    printing = on;
    if (!on) set({});
  };
  addEventListener("beforeprint", () => handout(true));
  addEventListener("afterprint", () => handout(false));
  matchMedia("print").addEventListener("change", (event) => handout(event.matches));

  addEventListener("hashchange", () => { read(); set({}); });
  addEventListener("pagehide", write);
  const seen = new ResizeObserver(() => {
    if (!printing && planes.map((plane) => plane.measure()).includes(true)) set({});
  });
  for (const plane of planes) seen.observe(plane.svg);
  read();
  return { state, set };
}

// ---------------------------------------------------------------- parts of a page

// Calls frame(t) with t from 0 to 1, at once if motion is not wanted. Returns what stops it.
export function animate(milliseconds, frame, done = () => {}) {
  let stopped = false;
  const start = performance.now();
  const tick = (now) => {
    if (stopped) return;
    const t = calm() ? 1 : clamp((now - start) / milliseconds, 0, 1);
    frame(t * t * (3 - 2 * t));
    if (t < 1) requestAnimationFrame(tick);
    else done();
  };
  if (calm()) tick(start);
  else requestAnimationFrame(tick);
  return () => { stopped = true; };
}

// Choices of which one holds, in every place that asks for them. Returns what redraws them.
export function radios(places, choices, get, choose) {
  const groups = [...places].map((place) => {
    const make = ([value, words]) => `<button type="button" role="radio" data-value="${value}">${words}</button>`;
    place.setAttribute("role", "radiogroup");
    place.innerHTML = choices.map(make).join("");
    const all = [...place.children];
    all.forEach((button, i) => {
      button.onclick = () => choose(button.dataset.value);
      button.onkeydown = (event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!by) return;
        event.preventDefault();
        const other = all[(i + by + all.length) % all.length];
        other.focus();
        other.click();
      };
    });
    return all;
  });
  return () => groups.flat().forEach((button) => {
    const on = button.dataset.value === get();
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
  });
}

// Numbers beside the picture: [what, number, note].
export function readings(place, rows) {
  const html = rows.map(([what, number, note]) => `<div><dt>${what}</dt><dd>${number}<small>${note ?? ""}</small></dd></div>`);
  if (place.innerHTML !== html.join("")) place.innerHTML = html.join("");
}

// [low, high] of a size: proved up to `low`, something fits at `high`.
export function interval(plane, low, high, { cls, proved, fits }) {
  const [x0, a, b] = [0, low, high].map((v) => plane.X(v)), met = high - low < 1e-9, words = met ? `${fits}, ${proved}` : fits;
  const right = plane.width - b > LETTER * words.length + 12, apart = a - x0 > LETTER * proved.length && (right || b - a > LETTER * fits.length);
  const rect = (x, w, cls) => `<rect x="${x.toFixed(1)}" y="34" width="${Math.max(0, w).toFixed(1)}" height="16" class="${cls}"/>`;
  const ticks = [];
  for (let v = 0; v <= plane.x[1]; v++) ticks.push(plane.text([v, 0], String(v), "tick", [0, 0], "middle"));
  plane.draw("main", rect(x0, a - x0, "bar f-proof"), rect(a, b - a, `bar open f-${cls}`), `<path class="axis" d="M${x0} 50H${plane.width - 8}"/>`,
    `<path class="line s-${cls}" d="M${b.toFixed(1)} 26V58"/>`, ticks,
    !met && apart && plane.text([low, 1], proved, "big f-proof", [-6, 24], "end"),
    right ? plane.text([high, 1], words, `big f-${cls}`, [8, 24]) : plane.text([high, 1], words, `big f-${cls}`, [b < LETTER * words.length ? plane.width - b - 6 : 0, 24], "end"));
}

// ---------------------------------------------------------------- the proof

// The checker's verdict, in a limited amount of work: {found} or {refused: sentence}.
export function verdict(problem, certificate) {
  work.left = BASE;
  try {
    return { found: check(problem, certificate()) };
  } catch (error) {
    return { refused: error.message };
  } finally {
    work.left = Infinity;
  }
}

export function sentence({ found, refused }) {
  if (refused) return `not proved: ${refused}`;
  const value = found.gap.n === 0n ? `size ${short(found.upper)}, gap 0` : `size between ${short(found.lower)} and ${short(found.upper)}`;
  return `proved (${found.proof}): ${value}${found.unique ? ", no other answer" : ""}`;
}

// The certificate as text that the reader may change, and the checker's verdict on it. Returns what refreshes it.
export function proofBox({ problem, certificate }) {
  const area = $("certificate"), place = $("verdict");
  let edited = false, last = 0, timer = 0;
  const say = (words, cls) => { place.className = `verdict ${cls}`; place.textContent = words; };
  const judge = () => {
    const start = performance.now();
    const result = verdict(problem(), () => parseJson(new TextEncoder().encode(area.value)));
    last = performance.now() - start;
    if (result.refused) say(sentence(result), "bad");
    else say(`${sentence(result)} · checked here in ${fmt(last, last < 10 ? 1 : 0)} ms`, "proof");
  };
  const show = () => {
    const lines = Object.entries(certificate()).map(([key, value]) => ` ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
    area.value = `{\n${lines.join(",\n")}\n}`;
  };
  const refresh = () => {
    if (!$("proofbox").open) return;
    if (!edited) show();
    clearTimeout(timer);
    if (last < SLOW) judge();
    else {
      say("checking …", "");
      timer = setTimeout(judge, 250);
    }
  };
  area.oninput = () => { edited = true; judge(); };
  $("restore").onclick = () => { edited = false; refresh(); };
  $("tamper").onclick = () => { // one digit of the proof
    const digit = /"nums":\["-?[0-9a-f]*([0-9a-f])"/.exec(area.value);
    if (!digit) return;
    const at = digit.index + digit[0].length - 2, other = ((parseInt(digit[1], 16) + 1) % 16).toString(16);
    area.value = area.value.slice(0, at) + other + area.value.slice(at + 1);
    edited = true;
    judge();
  };
  $("proofbox").ontoggle = refresh;
  return refresh;
}
