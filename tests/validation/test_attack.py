"""`make attack` at 2 % with a fixed seed, and the machine that runs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from validation.attack import __main__ as verb
from validation.attack.campaign import Outcome, campaign, names, quick_count


@pytest.mark.parametrize("name", names())
def test_a_campaign_finds_nothing(name: str) -> None:
    module = campaign(name)
    count = quick_count(module)
    assert 0 < count <= module.FULL
    outcome = module.run(count, 0)
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.tried > 0


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Campaigns that are not there: `planted(name=run)`."""

    def plant(**runs: Any) -> None:
        modules = {name: SimpleNamespace(TITLE=f"about {name}", FULL=200, run=run) for name, run in runs.items()}
        monkeypatch.setattr(verb, "names", lambda: tuple(sorted(modules)))
        monkeypatch.setattr(verb, "campaign", modules.__getitem__)

    return plant


def test_a_failure_is_printed_and_changes_the_exit_status(planted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    planted(
        calm=lambda count, seed: Outcome(count, (), ("largest error 0",)),
        storm=lambda count, seed: Outcome(count, (f"case 7 of seed {seed}",)),
    )
    assert verb.main(["--scale", "0.1", "--seed", "5"]) == 1
    said = capsys.readouterr().out
    for part in ("calm: about calm", "20 of 200 cases, seed 5", "largest error 0", "FAILED case 7 of seed 5"):
        assert part in said
    assert "failed: storm\n" in said
    assert verb.main(["calm"]) == 0
    assert "storm" not in capsys.readouterr().out


def test_a_campaign_that_tries_nothing_has_failed(planted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    planted(idle=lambda count, seed: Outcome(0, ()))
    assert verb.main([]) == 1
    assert "proves nothing" in capsys.readouterr().out


def test_counts_and_seeds_arrive(planted: Any) -> None:
    asked: list[tuple[int, int]] = []

    def note(count: int, seed: int) -> Outcome:
        asked.append((count, seed))
        return Outcome(count, ())

    planted(noted=note)
    assert verb.main([]) == verb.main(["noted", "--scale", "2", "--seed", "3"]) == verb.main(["--scale", "1e-9"]) == 0
    assert asked == [(200, 0), (400, 3), (1, 0)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["calmm"], "no campaign is called calmm; there are calm"), (["--scale", "nan"], "positive")],
)
def test_mistakes_in_the_call_are_one_sentence(
    planted: Any, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(calm=lambda count, seed: Outcome(count, ()))
    with pytest.raises(SystemExit) as stopped:
        verb.main(arguments)
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
