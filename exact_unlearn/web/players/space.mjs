// Shapes in the space of three weights, seen from a side that the reader chooses.

import { extent } from "./math.mjs";

const inner = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const RING = Array.from({ length: 49 }, (_, k) => k * Math.PI / 24), SIGNS = [1, -1], DEGREE = Math.PI / 180;

export class View {
  constructor(plane, yaw, pitch) {
    const [p, f] = [yaw * DEGREE, pitch * DEGREE];
    this.plane = plane;
    this.right = [Math.cos(p), Math.sin(p), 0];
    this.up = [-Math.sin(f) * Math.sin(p), Math.sin(f) * Math.cos(p), Math.cos(f)];
    this.near = [Math.sin(p) * Math.cos(f), -Math.cos(p) * Math.cos(f), Math.sin(f)]; // towards the reader
  }
  flat(p) { return [inner(p, this.right), inner(p, this.up)]; }

  axis(i, words, length) {
    const end = [0, 0, 0];
    end[i] = length;
    const ends = [end.map((v) => -v), end].map((p) => this.flat(p));
    return [this.plane.path(ends, "axis"), this.plane.text(ends[1], words, "name", [5, -5])];
  }

  // The surface {size = r}, far faces first.
  body(r, norm, cls) {
    if (r <= 0) return "";
    if (norm === "l2") return this.ball(r, cls);
    const depth = (face) => face.reduce((total, p) => total + inner(p, this.near), 0) / face.length;
    const sorted = faces(r, norm).sort((f, g) => depth(f) - depth(g));
    return sorted.map((face) => this.plane.polygon(face.map((p) => this.flat(p)), `face ${norm === "group" ? "many" : ""} ${cls}`));
  }

  ball(r, cls) {
    const circles = [[0, 1], [0, 2], [1, 2]].map(([i, j]) => {
      const at = (angle) => { const p = [0, 0, 0]; p[i] = r * Math.cos(angle); p[j] = r * Math.sin(angle); return p; };
      const arc = RING.slice(0, -1).filter((angle) => inner(at(angle), this.near) > 0);
      return arc.map((angle) => this.plane.path([this.flat(at(angle)), this.flat(at(angle + Math.PI / 24))], `hair ${cls.split(" ")[0]}`));
    });
    return [this.plane.circle(r, `area ${cls}`), circles];
  }

  // Whether the surface {size = r} stands between p and the reader.
  hides(p, r, norm) {
    for (let k = 1; k < 24; k++) if (extent(p.map((v, j) => v + this.near[j] * k * 0.16), norm) < r - 1e-3) return true;
    return false;
  }

  // A piece of a line, dotted behind the shape and red within it.
  segment(a, b, r, norm) {
    const middle = a.map((v, j) => (v + b[j]) / 2), inside = r > 0 && extent(middle, norm) < r - 1e-3;
    const cls = r > 0 && !inside && this.hides(middle, r, norm) ? "thin s-keep buried" : `line ${inside ? "s-bad" : "s-keep"}`;
    return this.plane.path([this.flat(a), this.flat(b)], cls);
  }
}

function faces(r, norm) {
  if (norm === "l1") return SIGNS.flatMap((a) => SIGNS.flatMap((b) => SIGNS.map((c) => [[a * r, 0, 0], [0, b * r, 0], [0, 0, c * r]])));
  if (norm === "linf") {
    return [0, 1, 2].flatMap((i) => SIGNS.map((s) => [[1, 1], [1, -1], [-1, -1], [-1, 1]].map(([a, b]) => {
      const p = [0, 0, 0];
      [p[i], p[(i + 1) % 3], p[(i + 2) % 3]] = [s * r, a * r, b * r];
      return p;
    })));
  }
  const rim = (k) => [0, r * Math.cos(RING[k]), r * Math.sin(RING[k])]; // a double cone
  return SIGNS.flatMap((a) => Array.from({ length: 16 }, (_, k) => [[a * r, 0, 0], ...[0, 1, 2, 3].map((m) => rim(3 * k + m))]));
}
