"""The demo, on a smaller scene: what it tells is true, by routes that it does not use."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import exact_unlearn as xu
from exact_unlearn import cli
from exact_unlearn.certify import checker
from exact_unlearn.demo import last_layer, run_demo
from exact_unlearn.demo.figures import draw_digits as draw_digits_figure
from exact_unlearn.demo.figures import write_figures
from exact_unlearn.demo.measure import Row
from exact_unlearn.demo.scene import CLASSES, Size, build_scene, draw_digits
from exact_unlearn.demo.story import Story, story_json, story_text, write_proofs
from exact_unlearn.report import json_text

SMALL = Size(samples=12, mislabelled=4, width=16)


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """The demo stops its integer program after a second.  Here it ends by itself, so that no clock decides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(last_layer, "MILP_SECONDS", 600.0)
        yield


@pytest.fixture(scope="module")
def story() -> Story:
    return run_demo(3, size=SMALL)


@pytest.fixture(scope="module")
def pictures(story: Story, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_figures(story, tmp_path_factory.mktemp("pictures"))


def untimed(story: Story) -> Any:
    def strip(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: strip(value) for key, value in tree.items() if key != "seconds"}
        return [strip(value) for value in tree] if isinstance(tree, list) else tree

    return strip(story_json(story))


# --- the scene --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, Size()])
def test_digits_are_real_and_the_wrong_labels_are_known(size: Size, rng: np.random.Generator) -> None:
    digits = draw_digits(rng, size)
    assert len(digits.x) == size.samples
    assert digits.wrong.sum() == size.mislabelled
    assert set(np.unique(digits.labels)) == {-1.0, 1.0}
    np.testing.assert_array_equal(digits.labels[digits.wrong], -digits.truth[digits.wrong])
    source = load_digits()
    images = {image.tobytes(): label for image, label in zip(source.data, source.target, strict=True)}
    for x, truth in zip(digits.x, digits.truth, strict=True):
        assert images[(16 * x[:64]).tobytes()] == CLASSES[int(truth > 0)]
        assert x[64] == 1.0
    everything = np.vstack([digits.x, digits.x_fresh])
    assert len(everything) == np.isin(source.target, CLASSES).sum()  # each digit is used once, or fresh


def test_the_network_has_memorised_every_label(rng: np.random.Generator) -> None:
    scene = build_scene(rng, SMALL)
    digits, model = scene.digits, scene.model
    np.testing.assert_allclose(model.predict(scene.theta_star, digits.x)[:, 0], digits.labels, atol=1e-12)
    np.testing.assert_allclose(model.predict(scene.theta_clean, digits.x_retain)[:, 0], digits.y_retain, atol=1e-12)


# --- what it tells ----------------------------------------------------------------------------------------------------


def test_every_finding_holds_and_every_answer_is_proved(story: Story) -> None:
    failed = [finding for finding in story.findings if not finding.holds]
    assert not failed
    assert story.holds
    assert len(story.findings) >= 15
    weak = [row for row in story.rows if row.proof not in (None, "exact", "enclosure") and row.status != "interval"]
    assert not weak


def test_a_failed_finding_and_a_missing_proof_are_seen(story: Story) -> None:
    wrong = replace(story.linear.findings[0], holds=False)
    assert not replace(story, linear=replace(story.linear, findings=[wrong])).holds
    assert not replace(story, rows=[replace(story.rows[1], proof="none")]).holds


def test_linear_answer_is_retraining(story: Story) -> None:
    """By the normal equations, which the demo does not use."""
    x, y = story.scene.digits.x_retain, story.scene.digits.y_retain
    np.testing.assert_allclose(story.linear.surrogate.theta, x.T @ np.linalg.solve(x @ x.T, y), atol=1e-10)


def test_unpenalised_l2_answer_is_the_projection(story: Story) -> None:
    J = story.scene.model.jacobian(story.scene.theta_star, story.scene.digits.x_retain).matrix
    expected = np.linalg.pinv(J) @ (J @ story.scene.theta_star)
    np.testing.assert_allclose(story.all_parameters.free["½ℓ2²"].theta, expected, atol=1e-10)


def test_paths_are_monotone(story: Story) -> None:
    """A weaker penalty moves further and makes R smaller."""
    for points in (story.all_parameters.by_lambda, story.all_parameters.by_radius):
        moved = np.array([point.row.moved for point in points])
        values = np.array([point.row.value for point in points], dtype=float)
        assert (np.diff(moved) >= -1e-5 * moved[-1]).all()  # equal, to the accuracy of an SOCP, once a ball is slack
        assert (np.diff(values) <= 1e-9 * values[0]).all()
    for point in story.all_parameters.by_radius[:-1]:
        assert np.max(np.abs(point.theta - story.scene.theta_star)) <= point.at * (1 + 1e-9)
        assert f"{point.at:g}" in point.row.name


def test_short_steps_end_in_a_simple_interpolating_model(story: Story) -> None:
    """Simpler than where the last layer alone can get, and as good as new on the retained digits."""
    digits, model, last = story.scene.digits, story.scene.model, story.all_parameters.steps[-1]
    np.testing.assert_allclose(model.predict(last.theta, digits.x_retain)[:, 0], digits.y_retain, rtol=0, atol=1e-12)
    assert np.linalg.norm(last.theta) < 0.5 * np.linalg.norm(story.last_layer.l2.theta)
    assert last.norm == np.linalg.norm(last.theta)
    norms = [float(np.linalg.norm(story.scene.theta_star)), *(point.norm for point in story.all_parameters.steps)]
    assert all(after < before for before, after in pairwise(norms))
    assert norms[0] > 2 * norms[-1]


def test_rows_measure_what_they_say(story: Story) -> None:
    digits, model = story.scene.digits, story.scene.model
    answers = {story.rows[0].name: story.scene.theta_star, story.rows[2].name: story.last_layer.l1.theta}
    for row in story.rows:
        if row.name in answers:
            outputs = model.predict(answers[row.name], digits.x)[:, 0]
            right = np.sign(outputs) == digits.truth
            assert row.effect.relabelled == right[digits.wrong].sum()
            assert row.effect.retained == right[~digits.wrong].mean()
            assert row.effect.interpolation_error == np.abs(outputs - digits.labels)[~digits.wrong].max()


def test_the_small_case_is_the_teacher_again(story: Story) -> None:
    small = story.small_case
    certificate = small.proved.certificate
    assert small.is_proved
    assert certificate.lower == certificate.upper <= np.count_nonzero(small.teacher) < small.bound
    assert (np.asarray(small.before) != 0).sum() > small.bound


def test_the_same_seed_tells_the_same_story(story: Story, pictures: list[Path], tmp_path: Path) -> None:
    again = run_demo(3, size=SMALL)
    assert untimed(again) == untimed(story)
    draw_digits_figure(again, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == pictures[0].read_bytes()


# --- what it writes ---------------------------------------------------------------------------------------------------


def test_tables_for_people_and_numbers_for_machines(story: Story) -> None:
    text = story_text(story)
    assert all(row.name in text for row in story.rows)
    assert all(finding.measured in text for finding in story.findings)
    assert max(len(line) for line in text.splitlines()) <= 130
    tree = json.loads(json_text(story_json(story)), parse_constant=lambda constant: pytest.fail(constant))
    assert [row["name"] for row in tree["rows"]] == [row.name for row in story.rows]
    for row, told in zip(story.rows, tree["rows"], strict=True):
        _bounds_are_rounded_outwards(row, told)


def _bounds_are_rounded_outwards(row: Row, told: dict[str, Any]) -> None:
    if row.lower is not None:
        assert told["lower"] <= row.lower <= row.upper <= told["upper"]


def test_figures_are_pictures(pictures: list[Path]) -> None:
    assert len(pictures) == 7
    for path in pictures:
        head = path.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", head[16:24])
        assert width == 960 < 2.5 * height  # 10 points are 8 pixels where the page is 390 wide


def test_written_proofs_are_accepted_by_the_checker(story: Story, tmp_path: Path) -> None:
    written = write_proofs(story, tmp_path)
    assert len(written) == 2 * len(story.proved)
    for problem, certificate in zip(written[::2], written[1::2], strict=True):
        assert checker.main([str(problem), str(certificate)]) == 0, problem.name


def test_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("exact_unlearn.demo.run_demo", lambda seed, say: replace(story, seed=seed))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--seed", "3", "--output", "deep/down", "--json", "report.json"]) == 0
    shown = capsys.readouterr()
    assert story_text(story) in shown.out
    assert "[" in shown.err
    folder = tmp_path / "deep" / "down"
    assert len(list(folder.glob("*.png"))) == 7
    assert len(list((folder / "proofs").iterdir())) == 2 * len(story.proved)
    assert (folder / "results.json").read_text() == (tmp_path / "report.json").read_text()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    suggested = shown.out.splitlines()[-1].partition("exact-unlearn ")[2].split()
    assert cli.main(suggested) == 0


def test_the_default_seed_is_said_once_and_alike(monkeypatch: pytest.MonkeyPatch, story: Story, tmp_path: Path) -> None:
    seen: list[int] = []
    monkeypatch.setattr("exact_unlearn.demo.run_demo", lambda seed, say: seen.append(seed) or story)
    monkeypatch.setattr("exact_unlearn.cli.demo._write", lambda *arguments: [])
    assert cli.main(["demo", "--quiet", "--output", str(tmp_path)]) == 0
    assert seen == [signature(run_demo).parameters["seed"].default]


def test_the_demo_loads_no_torch() -> None:
    code = (
        "import sys\nimport numpy as np\nfrom exact_unlearn.demo import figures, linear, scene\n"
        "rng = np.random.default_rng(0)\n"
        "drawn = scene.build_scene(rng, scene.Size(12, 4, 16))\n"
        "linear.forget_with_linear_model(drawn.digits, rng, lambda message: None)\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extras_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["demo"]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "pip install 'exact-unlearn[demo]'" in shown.err
    assert xu.__version__ not in shown.out
