"""The command line: what it writes is what the library computes, and every mistake is one sentence."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import exact_unlearn as xu
from exact_unlearn import cli
from exact_unlearn.codec import parse_rational
from exact_unlearn.program import ExplicitProgram

D, K = 12, 4
LABELS = np.arange(D) // 3


def arrays(rng: np.random.Generator, **more: Any) -> dict[str, Any]:
    return {"theta_star": rng.normal(size=D), "jacobian": rng.normal(size=(K, D))} | more


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def raw(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """The arrays of raw.npz."""
    data = arrays(rng)
    np.savez(folder / "raw.npz", **data)
    return data


def run(*words: str) -> int:
    return cli.main([*words])


def strict_json(text: str) -> Any:
    """JSON whose numbers are all finite."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no number of JSON")

    return json.loads(text, parse_constant=refuse)


# --- the verbs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_its_module_and_its_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"exact_unlearn.cli.{verb}")
    assert callable(module.run)
    assert run(verb, "--help") == 0
    assert f"usage: exact-unlearn {verb}" in capsys.readouterr().out


def test_every_module_with_a_run_is_a_verb() -> None:
    here = Path(cli.__file__).parent
    shared = {"__init__", "experiment_images", "modules", "problems", "summary", "terminal"}
    assert {path.stem for path in here.glob("*.py")} - shared == set(cli.VERBS)


def test_every_verb_is_in_the_manual() -> None:
    manual = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    assert [verb for verb in cli.VERBS if f"| `{verb}" not in manual] == []


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in cli.VERBS)
    assert run("--version") == 0
    assert capsys.readouterr().out == f"exact-unlearn {xu.__version__}\n"


def test_the_command_line_itself_loads_next_to_nothing() -> None:
    code = "import sys\nfrom exact_unlearn.cli import main\nmain(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "cvxpy", "scipy", "torch"} & set(result.stderr.split())


# --- solve ------------------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[list[str], dict[str, Any], Any, Any]] = {
    # options, further arrays, regularizer, drift penalty
    "squared-l2": (["-r", "squared-l2"], {}, xu.SquaredL2(), None),
    "l2": (["-r", "l2"], {}, xu.L2(), None),
    "l1": (["--regularizer", "L1"], {}, xu.L1(), None),
    "weights": (["-r", "l1"], {"weights": np.arange(1.0, D + 1)}, xu.L1(np.arange(1.0, D + 1)), None),
    "weights by name": (
        ["-r", "squared_l2", "--weights", "w"],
        {"w": np.arange(1.0, D + 1), "weights": np.ones(D)},
        xu.SquaredL2(np.arange(1.0, D + 1)),
        None,
    ),
    "linf": (["-r", "linf"], {}, xu.LInf(), None),
    "groups": (["-r", "group-l2"], {"groups": LABELS}, xu.GroupL2(LABELS), None),
    "groups by name": (["-r", "group-l2", "--groups", "g"], {"g": LABELS}, xu.GroupL2(LABELS), None),
    "elastic net": (["-r", "elastic-net", "--alpha", "0.5", "--beta", "2"], {}, xu.ElasticNet(0.5, 2.0), None),
    "nuclear norm": (["-r", "nuclear-norm", "--block", "0:12:3x4"], {}, xu.NuclearNorm(slice(0, 12), (3, 4)), None),
    "squared drift": (["-r", "l1", "--drift", "squared:0.1"], {}, xu.L1(), xu.SquaredDrift(0.1)),
    "trust region": (["-r", "l1", "--drift", "trust:0.5"], {}, xu.L1(), xu.TrustRegion(0.5)),
    "sum of drifts": (
        ["-r", "squared-l2", "--drift", "l1:0.2", "--drift", "trust-inf:1.5", "--drift", "squared:1e-1"],
        {},
        xu.SquaredL2(),
        xu.L1Drift(0.2) + xu.TrustRegion(1.5, "inf") + xu.SquaredDrift(0.1),
    ),
    "right-hand side": (["-r", "l2"], {"rhs": np.arange(1.0, K + 1)}, xu.L2(), None),
}


def test_the_kind_of_proof_is_chosen(folder: Path, raw: dict[str, Any]) -> None:
    """`solve` and `certify` take --proof, and write what was asked for."""
    for proof in ("exact", "enclosure"):
        assert run("solve", "raw.npz", "-r", "l1", "--proof", proof, "-o", "out.npz", "--json", "r.json") == 0
        assert strict_json(Path("r.json").read_text())["certificate"]["proof"] == proof
        assert run("certify", "out.problem.npz", "out.npz", "--proof", proof, "-o", "c.json") == 0
        assert ("near" in json.loads(Path("c.json").read_text())["primal"]) == (proof == "enclosure")
        assert run("check", "out.problem.npz", "c.json") == 0


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("case", CASES)
def test_solve_writes_what_the_library_computes(
    case: str, suffix: str, folder: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    words, more, regularizer, drift = CASES[case]
    data = arrays(rng, **more)
    source = folder / f"case{suffix}"
    save_file(data, source) if suffix == ".safetensors" else np.savez(source, **data)
    assert run("solve", str(source), *words, "-o", f"out{suffix}", "--no-certify") == 0
    problem = xu.UnlearningProblem(data["theta_star"], data["jacobian"], regularizer, drift, rhs=data.get("rhs"))
    expected = xu.solve(problem)
    written, stated = xu.Solution.load(f"out{suffix}"), xu.UnlearningProblem.load(f"out.problem{suffix}")
    np.testing.assert_array_equal(written.theta, expected.theta)
    np.testing.assert_array_equal(written.nu, expected.nu)
    assert stated.to_tree().keys() == problem.to_tree().keys()
    assert stated.objective(data["theta_star"]) == problem.objective(data["theta_star"])
    np.testing.assert_array_equal(stated.jacobian.matrix, data["jacobian"])
    np.testing.assert_array_equal(stated.rhs, problem.rhs)
    assert f"{expected.value:.12g}" in capsys.readouterr().out


FROZEN = np.array([1, 5, 11])
MASK = np.isin(np.arange(D), FROZEN)


@pytest.mark.parametrize(
    ("words", "more", "free"),
    [
        ([], {"frozen": FROZEN}, ~MASK),
        ([], {"frozen": MASK}, ~MASK),
        ([], {"frozen": MASK.astype(np.uint8)}, ~MASK),
        ([], {"free": MASK}, MASK),
        (["--frozen", "still"], {"still": FROZEN, "free": MASK}, ~MASK),
        (["--free", "moving"], {"moving": FROZEN, "frozen": FROZEN}, MASK),
        ([], {}, np.ones(D, dtype=bool)),
        ([], {"frozen": np.zeros(0, dtype=np.int64)}, np.ones(D, dtype=bool)),
    ],
)
def test_what_may_move(
    words: list[str], more: dict[str, Any], free: Any, folder: Path, rng: np.random.Generator
) -> None:
    np.savez(folder / "raw.npz", **arrays(rng, **more))
    assert run("solve", "raw.npz", "-r", "l2", *words, "--no-certify") == 0
    np.testing.assert_array_equal(xu.UnlearningProblem.load("raw.problem.npz").free, free)
    solution = xu.Solution.load("raw.solution.npz")
    assert not solution.drift[~free].any()


def test_a_perceptron_in_a_raw_file_counts_neurons(folder: Path) -> None:
    """Two neurons that see the single sample alike: one of them is enough."""
    model = xu.Perceptron(1, 2)
    theta = model.join({"c": [[1.0, 1.0]], "A": [[1.0], [1.0]]})
    jacobian = model.jacobian(theta, [[1.0]]).matrix
    np.savez(folder / "net.npz", theta_star=theta, jacobian=jacobian, free=np.array([True, True, False, False]))
    assert run("solve", "net.npz", "-r", "active-neurons", "--perceptron", "1x2x1") == 0
    assert xu.Solution.load("net.solution.npz").value == 1.0
    assert run("solve", "net.npz", "-r", "l0", "-o", "l0.npz") == 0
    assert xu.Solution.load("l0.npz").value == 3.0  # A is frozen and counts


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
def test_complete_problems_need_no_options(suffix: str, folder: Path, raw: dict[str, Any]) -> None:
    problem = xu.UnlearningProblem(**raw, regularizer=xu.L1(), drift_penalty=xu.SquaredDrift(0.25))
    problem.save(f"mine{suffix}")
    assert run("solve", f"mine{suffix}", "--no-certify") == 0
    np.testing.assert_array_equal(xu.Solution.load("mine.solution.npz").theta, xu.solve(problem).theta)


def test_fractions_stay_fractions(folder: Path) -> None:
    thirds = np.array([[Fraction(1, 3), Fraction(2, 3), Fraction(1)]], dtype=object)
    problem = xu.UnlearningProblem(thirds[0], thirds, xu.L1())
    problem.save("thirds.problem.json")
    assert run("solve", "thirds.problem.json") == 0
    assert xu.UnlearningProblem.load("thirds.problem.json").is_rational
    assert xu.Solution.load("thirds.solution.json").problem.is_rational
    assert (folder / "thirds.certificate.json").exists()
    assert run("check", "thirds.problem.json", "thirds.certificate.json") == 0


def test_machine_report(folder: Path, raw: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", "raw.npz", "-r", "l1", "--json", "-", "--quiet") == 0
    shown = capsys.readouterr()
    tree = strict_json(shown.out)
    assert shown.err == ""
    solution = xu.Solution.load("raw.solution.npz")
    assert tree["schema"] == "exact-unlearn/solve-report"
    assert tree["value"] == solution.value
    assert tree["certificate"]["lower"] <= solution.value * (1 + 1e-12)
    assert tree["certificate"]["upper"] >= solution.value * (1 - 1e-12)
    assert tree["written"] == ["raw.solution.npz", "raw.problem.npz", "raw.certificate.json"]
    assert run("solve", "raw.npz", "-r", "l1", "--json", "report.json") == 0
    again = strict_json((folder / "report.json").read_text())
    assert {**again, "certify_seconds": 0, "compile_seconds": 0, "solve_seconds": 0}.keys() == tree.keys()
    assert again["value"] == tree["value"]


def test_infinite_residuals_are_null_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A count has no multipliers, so its dual residual is infinite."""
    np.savez(folder / "raw.npz", theta_star=np.ones(3), jacobian=np.eye(3)[:2])
    run("solve", "raw.npz", "-r", "l0", "--json", "-")
    tree = strict_json(capsys.readouterr().out)
    assert tree["dual_residual"] is None
    assert tree["upper"] == 2.0


def test_an_infeasible_problem_is_no_success(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sample with two labels."""
    np.savez(folder / "raw.npz", theta_star=np.zeros(2), jacobian=np.ones((2, 2)), rhs=np.array([0.0, 1.0]))
    assert run("solve", "raw.npz", "-r", "l2", "--no-certify") == 1
    shown = capsys.readouterr().out
    assert "infeasible" in shown
    assert "contradicts" in shown


def test_unused_arrays_are_named(folder: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "raw.npz", **arrays(rng, groups=LABELS, rsh=np.ones(K)))
    assert run("solve", "raw.npz", "-r", "l1", "--no-certify") == 0
    assert "not used" in (shown := capsys.readouterr().out)
    assert "groups, rsh" in shown


# --- certify, check, program ------------------------------------------------------------------------------------------


def test_a_certificate_proves_only_its_own_problem(
    folder: Path, raw: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("solve", "raw.npz", "-r", "l1") == 0
    assert run("check", "raw.problem.npz", "raw.certificate.json") == 0
    other = raw["jacobian"].copy()
    other[0, 0] = np.nextafter(other[0, 0], np.inf)
    xu.UnlearningProblem(raw["theta_star"], other, xu.L1()).save("other.problem.npz")
    capsys.readouterr()
    assert run("check", "other.problem.npz", "raw.certificate.json") != 0
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert shown.out + shown.err


def test_a_certificate_alone_is_about_its_own_problem(
    folder: Path, raw: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    problem = xu.UnlearningProblem(**raw, regularizer=xu.L1())
    xu.certify(problem, xu.solve(problem)).save("alone.json", embed_problem=True)
    assert run("check", "alone.json") == 3
    assert "embedded problem only" in capsys.readouterr().out
    assert run("check", "alone.json", "--json", "-") == 3
    tree = strict_json(capsys.readouterr().out)
    assert tree["proof"] == "exact"
    assert not tree["proved"]


def test_anybodys_solution_gets_its_certificate(folder: Path, raw: dict[str, Any]) -> None:
    """theta* itself, without multipliers, is a feasible point that proves an upper bound; the optimum proves more.

    The proof is about the problem, the exit status about the point.
    """
    np.savez(folder / "theirs.npz", theta=raw["theta_star"])
    assert run("certify", "raw.npz", "-r", "squared-l2", "theirs.npz") == 1
    assert run("check", "theirs.problem.npz", "theirs.certificate.json") == 0
    certificate = xu.Certificate.load("theirs.certificate.json")
    exact = xu.solve(xu.UnlearningProblem(**raw, regularizer=xu.SquaredL2())).value
    assert float(certificate.lower) <= exact * (1 + 1e-12)
    assert float(certificate.upper) >= exact * (1 - 1e-12)


def test_certify_takes_a_saved_solution(folder: Path, raw: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("solve", "raw.npz", "-r", "linf", "--no-certify", "--drift", "squared:0.5") == 0
    assert not (folder / "raw.certificate.json").exists()
    capsys.readouterr()
    assert run("certify", "raw.problem.npz", "raw.solution.npz", "-o", "mine.json", "--json", "-") == 0
    tree = strict_json(capsys.readouterr().out)
    assert tree["written"] == ["mine.json"]
    assert tree["proof"] in ("exact", "enclosure")
    assert run("check", "raw.problem.npz", "mine.json") == 0


def test_program_exports_what_the_solver_sees(folder: Path, raw: dict[str, Any]) -> None:
    assert run("program", "raw.npz", "-r", "l1", "-o", "lp.npz") == 0
    written, expected = (
        ExplicitProgram.load("lp.npz"),
        xu.explicit_program(xu.UnlearningProblem(**raw, regularizer=xu.L1())),
    )
    assert written.kind == "LP"
    np.testing.assert_array_equal(written.A.toarray(), expected.A.toarray())
    np.testing.assert_array_equal(written.b, expected.b)


@pytest.mark.parametrize("suffix", [".mps", ".qplib", ".cbf"])
def test_program_writes_what_other_solvers_read(suffix: str, folder: Path, raw: dict[str, Any]) -> None:
    from exact_unlearn.exports import write_program

    assert run("program", "raw.npz", "-r", "l1", "-o", f"lp{suffix}") == 0
    write_program(xu.explicit_program(xu.UnlearningProblem(**raw, regularizer=xu.L1())), f"expected{suffix}")
    assert Path(f"lp{suffix}").read_bytes() == Path(f"expected{suffix}").read_bytes()


def test_program_writes_proofs_for_other_checkers(
    folder: Path, raw: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.exports.vipr_verifier import verify

    assert run("solve", "raw.npz", "-r", "l1") == 0
    words = ["program", "raw.problem.npz", "--certificate", "raw.certificate.json", "-o"]
    assert run(*words, "proof.vipr") == 0
    said, lower, upper = verify(Path("proof.vipr").read_text())
    tree = strict_json(Path("raw.certificate.json").read_text())
    assert (said, lower, upper) == ("range", *[parse_rational(tree["claims"]["upper"])] * 2)
    capsys.readouterr()
    assert run(*words, "proof.mps") == run("program", "raw.problem.npz", "-o", "alone.vipr") == 2
    assert capsys.readouterr().err.count("--certificate: a .vipr file holds the proof of a certificate") == 2
    assert not Path("proof.mps").exists()
    assert not Path("alone.vipr").exists()


def test_rows_that_nearly_depend_are_not_certified_silently(
    folder: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    data = arrays(rng)
    data["jacobian"][3] = 3.1 * data["jacobian"][0]
    np.savez(folder / "raw.npz", **data)
    assert run("solve", "raw.npz", "-r", "squared-l2") == 1
    assert "rows" in capsys.readouterr().out
    assert (folder / "raw.solution.npz").exists()
    assert not (folder / "raw.certificate.json").exists()
    assert run("certify", "raw.problem.npz", "raw.solution.npz") == 2
    assert run("solve", "raw.npz", "-r", "squared-l2", "--rows", "literal") == 0
    literal = float(xu.Certificate.load("raw.certificate.json").upper)
    assert run("solve", "raw.npz", "-r", "squared-l2", "--tau", "1e-9") == 0
    kept = float(xu.Certificate.load("raw.certificate.json").upper)
    assert kept < literal  # one condition less
