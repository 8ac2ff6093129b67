"""The reproduction: its configuration, commands, what it skips, and all of it at its smallest."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rba import tiny_model
from rba.errors import InputError
from rba.settings import build, check_train_settings, compose_config
from rba.tiny_model import TinyModel
from rba.workflow.steps import Command

SMALLEST = [
    "rendered.train.count=6",
    "rendered.train.num_photos=6",
    "rendered.calibration.count=3",
    "rendered.test.count=4",
    "rendered.workers=1",
    "rendered.samples_per_shard=8",
    "train_overrides=['global_batch=2','per_device_batch=2','data.num_workers=0',"
    "'validate_every_n_steps=2']",
    "stages.match.max_steps=2",
    "stages.views.max_steps=2",
    "ablation_steps=2",
    "~ablation_runs.alternating",
    "~ablation_runs.refinement_only",
    "~ablation_runs.shuffled",
    "evaluation.steps=1",
    "evaluation.calibration_steps='0'",
    "+evaluation.refine=2",
]


# A stage that goes on.
SECOND = "+stages.views={max_steps: 9, seed: 1, overrides: ['data.curriculum.samples=0']}"


def make(out: Path, *overrides: str) -> TinyModel:
    return TinyModel(build(compose_config("tiny_model", [f"out={out}", SECOND, *overrides])))


class Pretender:
    """Make the folders that commands would make; note the commands."""

    def __init__(self) -> None:
        self.ran: list[Command] = []

    def __call__(self, command: Command) -> None:
        self.ran.append(command)
        for word in command:
            key, _, value = word.partition("=")
            if key in ("out", "photos_out", "--output"):
                Path(value).mkdir(parents=True)


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Pretender:
    made = Pretender()
    monkeypatch.setattr(tiny_model, "run_command", made)
    return made


def prepare(model: TinyModel) -> None:
    data = model.make_data()
    model.measure(model.train_stages(data), data)


def test_stages_compose_and_continue_one_another(tmp_path: Path, pretender: Pretender) -> None:
    model = make(tmp_path)
    prepare(model)
    trainings = [command for command in pretender.ran if command[0] == "train.py"]
    configs = [compose_config("train", command[1:]) for command in trainings]
    for config in configs:
        check_train_settings(config)
        assert config.global_batch == config.per_device_batch == 8
        assert config.resume == "auto"
    assert [config.run_name for config in configs] == list(model.settings.stages)
    assert configs[0].init_from is None
    assert configs[1].init_from == f"{tmp_path}/runs/match-model"
    assert {c.data.alignment.shards for c in configs} == {f"{tmp_path}/data/shards/alignment"}
    # The second stage starts at full difficulty: the first one's curriculum has ended by then.
    first, second = configs
    assert first.max_steps * first.global_batch / 2 >= first.data.curriculum.samples
    assert second.data.curriculum.samples == 0
    exports = [command for command in pretender.ran if command[:2] == ("rba", "export")]
    assert ["--dtype=float16" in command for command in exports] == [False, False, True]
    last = configs[-1]
    checkpoint = f"{tmp_path}/runs/views/checkpoints/step_{last.max_steps:08d}.ckpt"
    assert f"--checkpoint={checkpoint}" in exports[-1]
    assert pretender.ran[-1][:2] == ("rba", "evaluate")


def test_ablations_see_equally_many_samples_and_differ_in_one_thing(tmp_path: Path) -> None:
    model = make(tmp_path, "ablation_steps=70")
    configs = {
        stage.name: compose_config(
            "train", model.train_command(stage, tmp_path / stage.name, None)[1:]
        )
        for stage in model.ablations
    }
    assert set(configs) == {"alternating", "alignment_only", "refinement_only", "shuffled"}
    assert {config.max_steps * config.global_batch for config in configs.values()} == {70 * 8}
    assert {config.init_from for config in configs.values()} == {None}
    assert configs["alignment_only"].alternation.refinement == 0
    assert configs["refinement_only"].alternation.alignment == 0
    assert configs["shuffled"].data.shuffle_references
    assert not configs["alternating"].data.shuffle_references
    # At every step all have the same difficulty: samples of a mode by step over the curriculum's.
    shares = {
        config.data.curriculum.samples
        * (bool(config.alternation.alignment) + bool(config.alternation.refinement))
        for config in configs.values()
    }
    assert shares == {16000}


def test_ablations_can_be_made_without_the_model(
    tmp_path: Path, pretender: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyModel, "run_ablations", lambda self, data: made.append(self.out))
    made: list[Path] = []
    make(tmp_path, "ablations=only").run()
    assert made == [tmp_path]
    assert {command[0].split("/")[0] for command in pretender.ran} == {"data_tools"}


def test_what_is_whole_is_skipped_and_a_change_runs_what_depends_on_it(
    tmp_path: Path, pretender: Pretender
) -> None:
    prepare(make(tmp_path))
    whole = len(pretender.ran)
    assert whole == 3 + 3 + 2 * 2 + 2
    prepare(make(tmp_path))
    assert len(pretender.ran) == whole
    prepare(make(tmp_path, "evaluation.steps=9"))
    assert [command[1] for command in pretender.ran[whole:]] == ["export", "evaluate"]
    prepare(make(tmp_path, "evaluation.steps=9", "rendered.test.count=5"))
    changed = pretender.ran[whole + 2 :]
    assert changed[0][:2] == ("data_tools/render_objects.py", f"out={tmp_path}/data/test")
    # Test objects are no input of training: stages stay.
    assert [command[1] for command in changed[1:]] == ["export", "evaluate"]


def test_a_stage_that_was_trained_on_other_data_is_not_mixed_up(
    tmp_path: Path, pretender: Pretender
) -> None:
    prepare(make(tmp_path))
    (tmp_path / "runs" / "match").mkdir()
    with pytest.raises(InputError, match="trained with other settings, or on other data"):
        prepare(make(tmp_path, "rendered.train.count=7"))


def test_data_may_lie_elsewhere(tmp_path: Path) -> None:
    model = make(tmp_path / "out", f"data_folder={tmp_path}/made")
    assert model.data == tmp_path / "made"


def test_commands_in_the_card_name_no_folder_of_this_machine(
    tmp_path: Path, pretender: Pretender
) -> None:
    model = make(tmp_path)
    prepare(model)
    lines = model.command_lines()
    assert len(lines) == 12
    assert str(tmp_path) not in "\n".join(lines)
    assert "out=DATA/train/objects" in lines[0]
    assert "--output=OUT/report" in lines[-1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages.match.max_steps=many"], "stages.match.max_steps=many"),
        (["ablations=maybe"], "ablations=maybe; give true, false or only"),
        (["ablation_steps=x"], "ablation_steps=x must be a whole number"),
        (["evaluation.stepz=1"], "stepz"),
        (["stages.match.lr=1"], "lr"),
    ],
)
def test_a_mistyped_setting_is_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tmp_path, *overrides)


def reproduce(out: Path, *overrides: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rba.tiny_model", f"out={out}", SECOND, *SMALLEST, *overrides],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_whole_reproduction_at_its_smallest_and_its_skipping(tmp_path: Path) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    printed = reproduce(out, "ablations=true", f"docs={docs}")
    assert "skipping" not in printed
    names = {"heatmap.png", "panel.png", "worst.png", "curves.png"}
    assert {path.name for path in docs.iterdir()} == names
    model = out / "model"
    card = (model / "README.md").read_text()
    assert "| views | match | 1 | 2 | 2 | 2 |" in card
    assert str(tmp_path) not in card
    curves = (model / "curves.csv").read_text().splitlines()
    assert curves[0].startswith("stage,step,samples")
    assert {line.split(",")[0] for line in curves[1:]} == {"match", "views"}
    assert any(line.startswith("views,2,8,") for line in curves)
    metrics: dict[str, Any] = json.loads((out / "report" / "metrics.json").read_text())
    index = json.loads((model / "model_index.json").read_text())
    assert index["layer"] == metrics["calibration"]["layer"]
    assert sum(path.stat().st_size for path in model.rglob("*")) < 10e6
    ablations = json.loads((out / "ablations.json").read_text())
    assert ablations["alignment_only"]["samples"] == {"alignment": 4, "refinement": 0}
    assert "| alignment only | 4 alignment |" in (out / "ablations.md").read_text()

    again = reproduce(out, "ablations=true")
    assert "$ " not in again
    assert again.count("skipping") == 3 + 3 + 2 + 1 + 2
    # Without records, whole runs are taken as they are.
    shutil.rmtree(out / "steps")
    adopted = reproduce(out, "adopt=true")
    assert adopted.count("adopting") == 2 + 1
    assert "$ " not in adopted
