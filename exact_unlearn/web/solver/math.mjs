// What five solvers claimed, and what is true: the measurements of the package, nothing computed here.

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
