"""The parts of a program: how large it is, what its multipliers mean, what a file of it may hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import Cones, ExplicitProgram, assemble
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers
from tests.test_program import solve_with_clarabel, solve_with_highs

HOLES = np.array([0.0, 1.0, 2.0, 0.5] * 3)

SIZES: list[tuple[str, Any, Any, Any, int, Cones, int]] = [
    # name, R, Rhat, frozen coordinates, variables, cones, entries of P
    ("squared l2", xu.SquaredL2(), None, [], 12, Cones(5), 12),
    ("squared l2 with zero weights", xu.SquaredL2(HOLES), None, [], 12, Cones(5), 9),
    ("l1", xu.L1(), None, [], 24, Cones(5, 24), 0),
    ("l1 with zero weights", xu.L1(HOLES), None, [], 21, Cones(5, 18), 0),
    ("linf", xu.LInf(), None, [], 13, Cones(5, 25), 0),
    ("linf, one frozen", xu.LInf(), None, [3], 12, Cones(5, 25), 0),
    ("linf, three frozen", xu.LInf(), None, [3, 4, 5], 10, Cones(5, 21), 0),
    ("l2", xu.L2(), None, [], 13, Cones(5, 0, (13,)), 0),
    ("l2, three frozen", xu.L2(), None, [3, 4, 5], 10, Cones(5, 0, (11,)), 0),
    ("l2 with zero weights", xu.L2(HOLES), None, [], 13, Cones(5, 0, (10,)), 0),
    ("groups", xu.GroupL2(np.arange(12) // 3), None, [], 16, Cones(5, 0, (4,) * 4), 0),
    (
        "groups, one free of charge",
        xu.GroupL2(np.arange(12) // 3, [1, 0, 1, 1]),
        None,
        [],
        15,
        Cones(5, 0, (4,) * 3),
        0,
    ),
    ("elastic net", xu.ElasticNet(1.0, 0.5), None, [], 24, Cones(5, 24), 12),
    ("elastic net without l1", xu.ElasticNet(0.0, 0.5), None, [], 12, Cones(5), 12),
    ("elastic net without l2", xu.ElasticNet(1.0, 0.0), None, [], 24, Cones(5, 24), 0),
    ("nuclear norm", xu.NuclearNorm(slice(0, 12), (3, 4)), None, [], 28, Cones(5, 0, (), (7,)), 0),
    ("squared drift", xu.L1(), xu.SquaredDrift(0.5), [], 24, Cones(5, 24), 12),
    ("l1 drift", xu.SquaredL2(), xu.L1Drift(0.5), [0, 1], 20, Cones(5, 20), 10),
    ("l1 drift of 0", xu.SquaredL2(), xu.L1Drift(0), [], 12, Cones(5), 12),
    ("box", xu.SquaredL2(), xu.TrustRegion(0.5, "inf"), [0], 11, Cones(5, 22), 11),
    ("ball", xu.SquaredL2(), xu.TrustRegion(0.5), [0], 11, Cones(5, 0, (12,)), 11),
    ("l0", xu.L0(), None, [], 24, Cones(5, 48), 0),
    ("l0 of groups", xu.L0(np.arange(12) // 3), None, [0], 15, Cones(5, 30), 0),
]


@pytest.mark.parametrize(("name", "R", "drift", "frozen", "n", "cones", "nnz"), SIZES, ids=[s[0] for s in SIZES])
def test_programs_are_as_small_as_the_table_says(
    name: str, R: Any, drift: Any, frozen: list[int], n: int, cones: Cones, nnz: int
) -> None:
    """docs/theory.md, "explicit programs": variables and rows, none for what costs nothing or cannot move."""
    free = ~np.isin(np.arange(12), frozen)
    program = xu.explicit_program(gaussian_problem(R, drift, free))
    assert program.q.size == n
    assert program.cones == cones
    assert program.P.nnz == nnz
    assert program.cones.rows == program.b.size == program.A.shape[0]
    assert (abs(program.P - program.P.T)).max() == 0


@pytest.mark.parametrize("regularizer", regularizers())
@pytest.mark.parametrize("drift", ["none", "all"])
@pytest.mark.parametrize("freezing", ["all free", "some frozen"])
def test_subgradients_come_out_of_the_multipliers(regularizer: str, drift: str, freezing: str) -> None:
    """g of R and h_k of each drift term: J^T nu = g + sum h_k on what may move, and each meets Fenchel's equality."""
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()[freezing])
    assembly = assemble(problem)
    z, y = solve_with_clarabel(assembly.program)
    theta, nu = assembly.program.theta(z), assembly.program.nu(y)
    g, *forces = assembly.subgradients(theta, y)
    total = g + sum(forces, np.zeros(12))
    np.testing.assert_allclose(problem.jacobian.rmatvec(nu)[problem.free], total[problem.free], atol=2e-5)
    moved = theta - problem.theta_star
    R = problem.regularizer
    assert R.value(theta) == pytest.approx(g @ theta - R.conjugate(g / (1 + 1e-6), tol=1e-4), abs=1e-4)
    for term, h in zip(problem.drifts, forces, strict=True):
        h = np.where(problem.free, h, 0.0)
        value = 0.0 if term.name == "trust_region" else float(term.value(moved))
        assert value == pytest.approx(h @ moved - float(term.conjugate(h, tol=1e-4)), abs=1e-4)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_frozen_coordinate_may_be_the_largest_one(size: float) -> None:
    """min max w |theta| is then what the frozen coordinate has, whatever the others do; the largest of them counts."""
    J, theta = np.ones((1, 4)), size * np.array([0.1, 0.2, 0.5, 0.4])
    weights = np.array([1.0, 1.0, 1.0, 1.5])
    program = xu.explicit_program(UnlearningProblem(theta, J, xu.LInf(weights), free=[0, 1]))
    z = solve_with_highs(program)
    assert program.value(z) == pytest.approx(size * 0.6, rel=1e-9)
    # and without anything that moves, or anything at all
    for problem, least in (
        (UnlearningProblem(theta, J, xu.LInf(weights), free=[]), 0.6 * size),
        (UnlearningProblem(0 * theta, J, xu.LInf(weights), free=[]), 0.0),
        (UnlearningProblem(theta, np.zeros((0, 4)), xu.LInf(np.zeros(4))), 0.0),
    ):
        program = xu.explicit_program(problem)
        assert program.value(solve_with_highs(program)) == pytest.approx(least, abs=1e-12)
    # where no row bounds t from below it is bounded by 0 all the same
    slack = program.b - program.A @ np.array([0.0, 0.0, 0.0, 0.0, -1.0])
    assert slack.min() < 0 == program.cones.zero


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_predictor_norm_as_a_cone(outputs: int) -> None:
    """The least |A_1^T V|_F that keeps the retained outputs: the projected predictor of Lemma 1 has it."""
    network = xu.LinearNetwork((3, 4, outputs))
    rng = np.random.default_rng(2)
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((2, 3))
    problem = xu.surrogate_problem(network, theta, x, xu.PredictorNorm(network, theta))
    program = xu.explicit_program(problem)
    assert program.cones.soc == (1 + 3 * outputs,)
    z = solve_with_clarabel(program)[0]
    least = xu.closed_form.project_onto_span(x, network.predictor(theta))
    assert program.value(z) == pytest.approx(np.linalg.norm(least), rel=1e-6)
    np.testing.assert_allclose(network.predictor(program.theta(z)), least, atol=1e-5)


def test_active_neurons_are_charged_for_their_columns() -> None:
    """Neurons whose a_i is 0 are free of charge: the optimum is that over the others."""
    model = xu.Perceptron(2, 4, "identity", 2)
    A = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    theta = model.join({"c": np.array([[1.0, 1.0, 2.0, 0.5]] * 2), "A": A})
    for n, least in ((0, 0), (1, 1), (2, 2)):
        problem = xu.surrogate_problem(model, theta, np.array([[1.0, 2.0], [3.0, -1.0]])[:n], xu.ActiveNeurons(model))
        program = xu.explicit_program(problem)
        assert program.integer.size == 3
        assert round(program.value(solve_with_highs(program))) == least


@pytest.mark.parametrize("exponent", [-30, -11, -10, -9, 0, 9, 10, 11, 30])
def test_the_largest_norm_is_written_in_the_unit_of_its_weights(exponent: int) -> None:
    """Weights far from 1: t has the size of theta, the cost carries the weight, and the optimum scales."""
    weights = np.linspace(0.5, 1.0, 12) * 2.0**exponent
    program = xu.explicit_program(gaussian_problem(xu.LInf(weights)))
    far = abs(exponent) >= 10
    assert program.q[-1] == (2.0**exponent if far else 1.0)
    assert abs(program.A[5:]).max() == (1.0 if far else max(1.0, 2.0**exponent))
    # the rows are those of weights of size 1 in these units, so that the program is that one with another cost
    plain = xu.explicit_program(gaussian_problem(xu.LInf(weights / 2.0**exponent)))
    z = solve_with_clarabel(plain)[0]
    w = z.copy()
    w[-1] *= 1.0 if far else 2.0**exponent
    assert program.value(w) == pytest.approx(2.0**exponent * plain.value(z), rel=1e-12)
    slack, wanted = program.b - program.A @ w, plain.b - plain.A @ z
    np.testing.assert_allclose(slack[5:], wanted[5:] * (1.0 if far else 2.0**exponent), rtol=1e-12, atol=1e-15)


def test_multipliers_beyond_floats_are_cut_off() -> None:
    J, theta = instances()["gaussian"]
    program = xu.explicit_program(UnlearningProblem(theta, J * 2.0**-1060, xu.L1()))
    nu = program.nu(np.full(program.b.size, 1e300))
    assert np.isfinite(nu).all()
    assert np.abs(nu).max() > 1e307


@pytest.mark.parametrize("name", ["duplicated rows", "dependent integer rows", "zero row", "more rows than columns"])
def test_multipliers_of_dependent_rows_are_one_per_row(name: str) -> None:
    """The program has as many equations as J has rank, and a multiplier for every row: J^T nu = -Q^T y."""
    J, theta = instances()[name]
    program = xu.explicit_program(UnlearningProblem(theta, J, xu.SquaredL2()))
    rank = np.linalg.matrix_rank(J)
    assert program.cones.zero == rank < len(J)
    y = np.random.default_rng(0).standard_normal(program.b.size)
    nu = program.nu(y)
    assert nu.shape == (len(J),)
    np.testing.assert_allclose(J.T @ nu, -(program.A.T @ y)[:12], atol=1e-12)


def test_bounds_of_the_quadratic_form() -> None:
    """Equations have equal bounds, inequalities none below; cones other than these are refused, each of them."""
    program = xu.explicit_program(gaussian_problem(xu.L1()))
    P, q, A, lower, upper = program.osqp()
    assert (P is program.P, q is program.q, A is program.A) == (True, True, True)
    assert (lower[:5] == upper[:5]).all()
    assert (lower[5:] == -np.inf).all()
    assert np.isfinite(upper).all()
    for R in (xu.L2(), xu.NuclearNorm(slice(0, 12), (3, 4))):
        with pytest.raises(ProblemError, match="has cones that l <= A z <= u cannot express"):
            xu.explicit_program(gaussian_problem(R)).osqp()


def test_programs_are_frozen_and_compared_by_identity() -> None:
    assembly = assemble(gaussian_problem(xu.L1()))
    for part in (assembly, assembly.program, assembly.summands[0][0], assembly.program.cones):
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.__setattr__(dataclasses.fields(part)[0].name, None)
    assert len({assembly.program, dataclasses.replace(assembly.program)}) == 2
    assert Cones(1, 2) == Cones(1, 2)
    assert Cones(2, 3, (4, 5), (2, 3)).rows == 2 + 3 + 9 + 3 + 6


# ---------------------------------------------------------------- files


def saved(tmp_path: Path, R: Any = None) -> tuple[Path, dict[str, Any]]:
    """A program as a .json file, and its content."""
    path = tmp_path / "program.json"
    xu.explicit_program(gaussian_problem(R or xu.L1())).save(path)
    return path, json.loads(path.read_text())


@pytest.mark.parametrize("R", [xu.L1(), xu.L2(), xu.L0(), xu.NuclearNorm(slice(0, 12), (3, 4)), xu.SquaredL2()])
@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
def test_files_hold_every_part(R: Any, suffix: str, tmp_path: Path) -> None:
    program = xu.explicit_program(gaussian_problem(R, xu.SquaredDrift(0.5), freezings()["some frozen"]))
    program.save(tmp_path / f"p{suffix}")
    loaded = ExplicitProgram.load(tmp_path / f"p{suffix}")
    for name in ("P", "A", "theta_map"):
        assert (getattr(loaded, name).toarray() == getattr(program, name).toarray()).all()
    for name in ("q", "b", "integer", "theta_offset", "nu_map"):
        assert getattr(loaded, name).tolist() == getattr(program, name).tolist()
        assert getattr(loaded, name).dtype == getattr(program, name).dtype
    assert (loaded.cones, loaded.constant, loaded.kind) == (program.cones, program.constant, program.kind)
    assert loaded.exact_up_to == program.exact_up_to


@pytest.mark.parametrize("name", ["P", "A", "theta_map", "q", "b", "cones", "integer", "nu_map", "constant"])
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    path, tree = saved(tmp_path)
    del tree[name]
    path.write_text(json.dumps(tree))
    with pytest.raises(FileFormatError, match=rf"program\.json: .*{name}"):
        ExplicitProgram.load(path)


@pytest.mark.parametrize(("part", "change"), [("indices", [99]), ("indptr", [0, 5, 3]), ("indices", [-1])])
def test_columns_that_contradict_themselves_are_refused(part: str, change: list[int], tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    program = xu.explicit_program(gaussian_problem(xu.L1()))
    array = getattr(program.A, part)
    array[: len(change)] = change
    program.save(path)
    with pytest.raises(FileFormatError, match=r"p\.npz: "):
        ExplicitProgram.load(path)


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Each part changed alone: one variable or row too many, cones for other rows, a binary that does not exist."""

    def wrong(**changes: Any) -> None:
        path = tmp_path / "wrong.npz"
        dataclasses.replace(program, **changes).save(path)
        with pytest.raises(FileFormatError, match=r"wrong\.npz: .*do not fit \d+ variables and \d+ rows"):
            ExplicitProgram.load(path)

    program = xu.explicit_program(gaussian_problem(xu.L1()))
    wrong(q=np.append(program.q, 1.0))
    wrong(b=np.append(program.b, 1.0))
    wrong(P=program.P[:-1])
    wrong(A=program.A[:, :-1])
    wrong(theta_map=program.theta_map[:-1])
    wrong(cones=Cones(5, 23))
    wrong(integer=np.array([24]))
    wrong(integer=np.array([0, -1]))
