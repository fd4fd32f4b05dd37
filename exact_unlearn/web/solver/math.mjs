// What five solvers claimed, and what is true: the measurements of the package, nothing computed here.

import { Q, parse } from "../checker/rational.mjs";
import { bounds, surrogate } from "../kit/numbers.mjs";

export const FORMS = { l1: "ℓ1", squaredl2: "ℓ2 squared", linfinity: "ℓ∞", groupsof5: "groups of 5" };

// The cells of one form and one condition number: {solver, status, value, error, verdict} for each peer, ours, the truth.
export function column({ forms, conditions, solvers, ours, table, truth }, form, at) {
  const f = forms.findIndex((name) => name.replaceAll(" ", "") === form), [best, proof] = truth[f][at];
  const cells = table[f][at].map((cell, i) => (cell === null ? null : { solver: solvers[i], status: cell[0], value: cell[1], error: cell[2], verdict: cell[3] }));
  return { condition: conditions[at], best, proof, ours: cells[ours], peers: cells.filter((cell, i) => cell !== null && i !== ours) };
}

export function score({ peers }, trusted) {
  const lies = peers.filter((cell) => cell.verdict === "lie");
  const words = lies.length === 0 ? "Nobody lied here" : `${lies.length} of ${peers.length} lied`;
  return `${words}${trusted.length && lies.length ? `; you believed ${lies.filter((cell) => trusted.includes(cell.solver)).length} of them` : ""}.`;
}

// ---------------------------------------------------------------- one of the problems, with its proof

// The doubles of a text in base64, as the fractions that they are.
function doubles(text) {
  const view = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  return Array.from({ length: view.byteLength / 8 }, (_, i) => {
    const bits = view.getBigUint64(8 * i, true), exponent = (bits >> 52n) & 2047n, sign = bits >> 63n ? -1n : 1n;
    const mantissa = sign * ((bits & (1n << 52n) - 1n) + (exponent ? 1n << 52n : 0n)), shift = (exponent || 1n) - 1075n;
    return shift < 0n ? new Q(mantissa, 1n << -shift) : new Q(mantissa << shift, 1n);
  });
}

export const isProved = ({ forms, proof }, form, at) => forms[proof.form] === form && proof.at === at;

export function problemOf({ proof }) {
  const star = doubles(proof.star), flat = doubles(proof.J), d = star.length;
  const rows = Array.from({ length: flat.length / d }, (_, i) => flat.slice(i * d, (i + 1) * d));
  return surrogate(star, rows, { name: "l1", weights: null });
}

export function certificateOf({ proof }) {
  return { ...bounds([], proof.nu.map(parse), { proof: "repaired" }), primal: proof.primal };
}
