// A plane of coordinates in SVG, one unit per pixel of the screen: layers that are redrawn as text, and handles that
// stay, for mouse, finger and arrow keys.

import { clamp, fmt } from "./numbers.mjs";

const SVG = "http://www.w3.org/2000/svg";
export const LETTER = 8.4, LINE = 17; // of the labels, in pixels
const HIT = 24; // half of what a finger needs

function node(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class Plane {
  // x, y: [from, to]; without y both axes have one scale, from `bottom` or around 0. tall(width) is the height in pixels.
  constructor(svg, { x, y = null, bottom = null, tall }) {
    Object.assign(this, { svg, x, y, bottom, tall, oneScale: y === null, layers: {}, marks: [], boxes: [] });
    for (const name of ["back", "main", "front"]) this.layers[name] = node("g", {}, svg);
    this.handles = node("g", {}, svg);
    this.measure();
  }

  // True if the size has changed; a figure that is not shown keeps its last one.
  measure() {
    const width = Math.round(this.svg.getBoundingClientRect().width) || this.width || 400;
    const height = Math.round(this.tall(width));
    const same = width === this.width && height === this.height;
    Object.assign(this, { width, height });
    if (this.oneScale) {
      const whole = (this.x[1] - this.x[0]) * height / width, low = this.bottom ?? -whole / 2;
      this.y = [low, low + whole];
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    return !same;
  }

  X(v) { return (v - this.x[0]) / (this.x[1] - this.x[0]) * this.width; }
  Y(v) { return this.height - (v - this.y[0]) / (this.y[1] - this.y[0]) * this.height; }
  at([a, b]) { return `${this.X(a).toFixed(1)} ${this.Y(b).toFixed(1)}`; }
  inverse(event) {
    const box = this.svg.getBoundingClientRect();
    const u = (event.clientX - box.left) / box.width, v = (box.bottom - event.clientY) / box.height;
    return [this.x[0] + u * (this.x[1] - this.x[0]), this.y[0] + v * (this.y[1] - this.y[0])];
  }

  // ---------------------------------------------------------------- what is drawn

  draw(layer, ...parts) { this.layers[layer].innerHTML = parts.flat(9).filter(Boolean).join(""); }
  path(points, cls) { return `<path class="${cls}" d="M${points.map((p) => this.at(p)).join("L")}"/>`; }
  polygon(points, cls) { return `<path class="${cls}" d="M${points.map((p) => this.at(p)).join("L")}Z"/>`; }
  circle(r, cls) { return `<circle class="${cls}" cx="${this.X(0)}" cy="${this.Y(0)}" r="${this.X(r) - this.X(0)}"/>`; }
  dot([a, b], r, cls) {
    this.marks.push([this.X(a), this.Y(b)]);
    return `<circle class="${cls}" cx="${this.X(a).toFixed(1)}" cy="${this.Y(b).toFixed(1)}" r="${r}"/>`;
  }

  // The whole line {p : n . p = c}, as far as the plane goes.
  line([n1, n2], c, cls) {
    const far = 4 * (this.x[1] - this.x[0] + this.y[1] - this.y[0]), s = Math.hypot(n1, n2);
    const foot = [n1 * c / s / s, n2 * c / s / s], along = [-n2 / s * far, n1 / s * far];
    return this.path([1, -1].map((k) => foot.map((v, i) => v + k * along[i])), cls);
  }

  arrow(from, to, cls, head = 9) {
    const [x, y, X, Y] = [this.X(from[0]), this.Y(from[1]), this.X(to[0]), this.Y(to[1])], length = Math.hypot(X - x, Y - y);
    return length < 2 ? "" : arrowPath([x, y], [X, Y], cls, Math.min(head, length * 0.6));
  }

  grid(name = ["", ""]) {
    const out = [], [x0, x1] = this.x, [y0, y1] = this.y;
    const least = 52 / this.height * (y1 - y0), ten = 10 ** Math.floor(Math.log10(least)); // what ticks need
    const every = [1, 2, 5, 10].map((k) => k * ten).find((v) => v >= least), digits = every < 1 ? 1 : 0;
    for (let v = Math.ceil(x0); v <= x1; v += 1) {
      out.push(this.path([[v, y0], [v, y1]], v === 0 ? "axis" : "grid"));
      if (v !== 0) out.push(this.text([v, 0], fmt(v, 0), "tick", [0, 16], "middle"));
    }
    for (let k = Math.ceil(y0 / every); k * every <= y1; k += 1) {
      out.push(this.path([[x0, k * every], [x1, k * every]], k === 0 ? "axis" : "grid"));
      if (k !== 0) out.push(this.text([0, k * every], fmt(k * every, digits), "tick", [-6, 5], "end"));
    }
    out.push(this.text([x1, 0], name[0], "name", [-8, -8], "end"), this.text([0, y1], name[1], "name", [8, 18]));
    return out;
  }

  // Lines and names at powers of ten, where the axes are logarithms.
  decades(every, [right, up]) {
    const out = [], [x0, x1] = this.x, [y0, y1] = this.y, power = (k) => (k === 0 ? "1" : `1e${fmt(k, 0)}`);
    for (let k = Math.ceil(x0); k <= x1; k += 1) out.push(this.path([[k, y0], [k, y1]], "grid"), this.text([k, y0], power(k), "tick", [0, -6], "middle"));
    for (let k = Math.ceil(y0 / every) * every; k <= y1; k += every) {
      out.push(this.path([[x0, k], [x1, k]], "grid"), this.text([x0, k], power(k), "tick", [6, -4]));
    }
    return [...out, this.text([x0, y0], right, "name", [8, -26]), this.text([x0, y1], up, "name", [44, 18])];
  }

  text([a, b], words, cls = "", [dx, dy] = [0, 0], anchor = "start") {
    if (!words) return "";
    const u = clamp(this.X(a) + dx, 6, this.width - 6), v = clamp(this.Y(b) + dy, 16, this.height - 8);
    return `<text class="${cls}" x="${u.toFixed(1)}" y="${v.toFixed(1)}" text-anchor="${anchor}">${words}</text>`;
  }

  // ---------------------------------------------------------------- names of points

  // A frame begins: no mark and no name stands anywhere yet.
  clear() { this.marks = []; this.boxes = []; }
  mark(...points) { this.marks.push(...points.map(([a, b]) => [this.X(a), this.Y(b)])); }

  // Words beside a point, at the first of four places that is free of marks, of other names, and of the rim.
  name([a, b], words, cls) {
    const x = this.X(a), y = this.Y(b), wide = LETTER * words.length;
    const places = [[14, -12], [14, 24], [-14, -12], [-14, 24]].map(([dx, dy]) => {
      const left = dx > 0 ? x + dx : x + dx - wide, bottom = y + dy + 4;
      const box = [left, bottom - LINE, left + wide, bottom];
      const out = Math.max(0, 4 - box[0], box[2] - this.width + 4) + Math.max(0, 4 - box[1], box[3] - this.height + 4);
      const hit = this.marks.filter(([u, v]) => u > box[0] - 9 && u < box[2] + 9 && v > box[1] - 9 && v < box[3] + 9).length;
      const over = this.boxes.filter((o) => o[0] < box[2] && box[0] < o[2] && o[1] < box[3] && box[1] < o[3]).length;
      return { dx, dy, box, cost: out + 20 * hit + 30 * over };
    });
    const { dx, dy, box } = places.reduce((best, place) => (place.cost < best.cost ? place : best));
    this.boxes.push(box);
    return this.text([a, b], words, `big ${cls}`, [dx, dy], dx > 0 ? "start" : "end");
  }

  // ---------------------------------------------------------------- what is moved

  // A point that mouse, finger and arrow keys move: at() reads it, move([x, y]) sets it. `keys`, if given, takes
  // (right, up) in steps instead. Returns what redraws it.
  handle({ label, at, move, keys = null, cls, step = 0.1, size = 9, says, axis = 0, square = false }) {
    const role = { class: "handle", tabindex: 0, role: "slider", "aria-label": label, "aria-roledescription": "point" };
    const group = node("g", role, this.handles);
    node("circle", { class: "hit", r: HIT }, group);
    node("circle", { class: "ring", r: size + 6 }, group);
    if (square) node("rect", { class: `dot ${cls}`, x: -size, y: -size, width: 2 * size, height: 2 * size, transform: "rotate(45)" }, group);
    else node("circle", { class: `dot ${cls}`, r: size }, group);
    group.addEventListener("pointerdown", (event) => {
      group.setPointerCapture(event.pointerId);
      group.classList.add("held");
      event.preventDefault();
      group.focus({ preventScroll: true });
    });
    group.addEventListener("pointermove", (event) => {
      if (group.hasPointerCapture(event.pointerId)) move(this.inverse(event));
    });
    for (const end of ["pointerup", "pointercancel"]) group.addEventListener(end, () => group.classList.remove("held"));
    group.addEventListener("keydown", (event) => {
      if (!(event.key in ARROWS)) return;
      const [right, up] = ARROWS[event.key].map((v) => v * (event.shiftKey ? 5 : 1));
      event.preventDefault();
      event.stopPropagation();
      if (keys) keys(right, up);
      else move([at()[0] + right * step, at()[1] + up * step]);
    });
    return (shown = true) => {
      const point = at();
      group.style.display = shown ? "" : "none";
      if (!shown) return;
      this.mark(point);
      group.setAttribute("transform", `translate(${this.at(point)})`);
      group.setAttribute("aria-valuenow", point[axis].toFixed(3));
      group.setAttribute("aria-valuetext", says ? says() : point.map((v) => fmt(v)).join(", "));
    };
  }
}

// An arrow in pixels.
export function arrowPath([x, y], [X, Y], cls, head) {
  const length = Math.hypot(X - x, Y - y), c = (X - x) / length, s = (Y - y) / length;
  const barb = (w) => `${(X - head * c - w * s).toFixed(1)} ${(Y - head * s + w * c).toFixed(1)}`;
  const tip = `${X.toFixed(1)} ${Y.toFixed(1)}`;
  return `<path class="${cls}" d="M${x.toFixed(1)} ${y.toFixed(1)}L${tip}M${barb(head / 2)}L${tip}L${barb(-head / 2)}"/>`;
}
