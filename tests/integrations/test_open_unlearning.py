"""The trainer class for open-unlearning, against a stand-in with the benchmark's interfaces.

The stand-in has the files, names and call signatures that the benchmark's own `src/train.py` goes through, written for
this test: a registry, a base trainer that takes what `load_trainer` passes, batches of {"forget", "retain"}.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from exact_unlearn.integrations.open_unlearning.trainer import CONFIGS

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = {
    "trainer/__init__.py": """
from trainer.base import FinetuneTrainer
TRAINER_REGISTRY = {"FinetuneTrainer": FinetuneTrainer}
""",
    "trainer/base.py": """
from transformers import Trainer
class FinetuneTrainer(Trainer):
    def __init__(self, evaluators=None, template_args=None, *args, **kwargs):
        self.evaluators, self.template_args = evaluators, template_args
        super().__init__(*args, **kwargs)
""",
    "trainer/unlearn/__init__.py": "",
    "trainer/unlearn/base.py": """
from trainer.base import FinetuneTrainer
class UnlearnTrainer(FinetuneTrainer):
    pass
""",
    "train.py": """
import json, sys, torch, yaml
from transformers import TrainingArguments
from trainer import TRAINER_REGISTRY
from tests.integrations.language_models import batch, flat, gpt2, records

def collate(samples):
    halves = {name: batch([sample[name] for sample in samples]) for name in ("forget", "retain")}
    for half in halves.values():
        half["index"] = torch.arange(len(samples))  # the benchmark's batches carry more than the model takes
    return halves

if __name__ == "__main__":
    search, *options = sys.argv[1:]
    assert search.startswith("hydra.searchpath=[file://"), search
    folder = search.removeprefix("hydra.searchpath=[file://").rstrip("]")
    name = dict(option.split("=") for option in options)["trainer"]
    config = yaml.safe_load(open(f"{folder}/trainer/{name}.yaml"))
    settings = TrainingArguments(output_dir="out", num_train_epochs=2, per_device_train_batch_size=4, learning_rate=0.0,
        report_to=[], save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False)
    pairs = [{"forget": f, "retain": r} for f, r in zip(records(True, 8, 1), records(True, 8, 2))]
    model = gpt2()
    before = flat(model)
    trainer = TRAINER_REGISTRY[config["handler"]](model=model, train_dataset=pairs, eval_dataset=None,
        data_collator=collate, args=settings, evaluators=None, template_args=None, **config["method_args"])
    trainer.train()
    print(json.dumps([config["method_args"], trainer.minnorm.records, float((flat(model) - before).norm())]))
""",
}


def launch(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exact_unlearn.integrations.open_unlearning", *options]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_launcher_registers_the_trainer_and_runs_the_benchmark(tmp_path: Path) -> None:
    for name, text in STAND_IN.items():
        path = tmp_path / "checkout" / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = launch(tmp_path, "checkout", "trainer=MinNormOG")
    assert done.returncode == 0, done.stderr
    method, records, moved = yaml.safe_load(done.stdout.splitlines()[-1])
    assert method == yaml.safe_load((CONFIGS / "trainer" / "MinNormOG.yaml").read_text())["method_args"]
    # Two steps in each of two epochs; the last epoch (final_epochs: 1) only descends.
    assert [(record["step"], record["epoch"]) for record in records] == [(0, 0), (1, 0)]
    assert [record["strength"] for record in records] == pytest.approx([0.1, 0.09])
    assert all(record["rows"] == 16 for record in records)  # four samples, four labelled tokens each
    assert moved > 0.01


def test_a_wrong_call_is_one_sentence(tmp_path: Path) -> None:
    none = launch(tmp_path)
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    assert "usage: python -m exact_unlearn.integrations.open_unlearning PATH/TO/open-unlearning" in none.stderr
    missing = launch(tmp_path, "nowhere")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "nowhere/src/train.py does not exist" in missing.stderr
    (tmp_path / "empty" / "src").mkdir(parents=True)
    (tmp_path / "empty" / "src" / "train.py").write_text("")
    empty = launch(tmp_path, "empty")
    assert (empty.returncode, empty.stderr.count("\n")) == (2, 1)
    assert "open-unlearning cannot be imported" in empty.stderr


def test_the_wheel_carries_the_configuration(tmp_path: Path) -> None:
    build = (
        "import sys; from hatchling.builders.wheel import WheelBuilder as B; list(B(sys.argv[1]).build(directory='.'))"
    )
    subprocess.run([sys.executable, "-c", build, str(ROOT)], cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "exact_unlearn/integrations/open_unlearning/configs/trainer/MinNormOG.yaml" in names
