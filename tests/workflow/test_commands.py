"""Commands of the project: printed as typed, read by Hydra and the parser as meant."""

import subprocess
from pathlib import Path

import pytest

from rba.errors import InputError
from rba.settings import build, compose_config, plain
from rba.workflow import commands
from rba.workflow.commands import (
    evaluate_command,
    export_command,
    git_commit,
    options,
    overrides,
    run_command,
    shell_line,
    train_command,
)
from rba.workflow.rendered import RenderedData, shard_folders


def rendered() -> RenderedData:
    return build(compose_config("demo").rendered)


def test_values_reach_hydra_as_they_were() -> None:
    settings = {
        "out": "a folder, of=mine's",
        "rotation_degrees": [0.0, 45.0],
        "shapes": ["prism", "dome"],
        "photos_out": None,
        "overwrite": True,
        "count": 3,
    }
    config = plain(compose_config("data_tools/render_objects", overrides(settings)))
    assert {key: config[key] for key in settings} == settings


def test_options_leave_out_what_is_none() -> None:
    assert options({"batch_size": 4, "refine": None}) == ["--batch-size=4"]


def test_rendering_commands_fit_the_tool_and_share_their_style(tmp_path: Path) -> None:
    made = {
        name: plain(compose_config("data_tools/render_objects", words[1:]))
        for name, words in rendered().render(tmp_path).items()
    }
    assert set(made) == {"train", "calibration", "test"}
    for key in ("size", "density", "look_alike_share", "rotation_degrees"):
        assert made["train"][key] == made["test"][key] == made["calibration"][key]
    assert len({config["seed"] for config in made.values()}) == 3
    assert [config["split"] for config in made.values()] == ["train", "train", "heldout"]
    assert not set(made["test"]["shapes"]) & set(made["train"]["shapes"])
    assert made["train"]["photos_out"] == f"{tmp_path}/train/photos"
    assert made["test"]["photos_out"] is None


def test_shard_commands_fit_their_tools_and_read_what_is_rendered(tmp_path: Path) -> None:
    built = {
        name: compose_config(words[0].removesuffix(".py"), words[1:])
        for name, words in rendered().shards(tmp_path).items()
    }
    assert built["alignment"].images == f"{tmp_path}/train"
    assert built["refinement"].objects == f"{tmp_path}/train/objects"
    assert built["validation"].objects == f"{tmp_path}/calibration"
    assert {c.out for c in built.values()} == {str(p) for p in shard_folders(tmp_path).values()}


def test_the_training_command_composes_and_later_overrides_win(tmp_path: Path) -> None:
    settings = {"seed": 3, "max_steps": 5, "init_from": None, "resume": "auto"}
    command = train_command(
        shard_folders(tmp_path), tmp_path / "runs" / "a", settings, ["seed=4", "trainer=cpu"]
    )
    config = compose_config("train", command[1:])
    assert (config.seed, config.max_steps, config.init_from, config.resume) == (4, 5, None, "auto")
    assert (config.runs_folder, config.run_name) == (f"{tmp_path}/runs", "a")


def test_rba_commands_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rba import cli

    seen: list[dict[str, object]] = []
    for name in ("_export", "_evaluate"):
        monkeypatch.setattr(cli, name, lambda given: seen.append(vars(given)))
    export = export_command(tmp_path, 7, tmp_path / "model", "--dtype=float16")
    evaluate = evaluate_command(tmp_path, tmp_path, tmp_path, {"steps": 5, "refine": None})
    assert cli.main(export[1:]) == cli.main(evaluate[1:]) == 0
    assert seen[0]["checkpoint"] == f"{tmp_path}/checkpoints/step_00000007.ckpt"
    assert seen[0]["dtype"] == "float16"
    assert (seen[1]["steps"], seen[1]["refine"], seen[1]["write_calibration"]) == (5, None, True)
    assert seen[1]["calibrate_on"] == f"{tmp_path}/calibration"


def test_commands_are_printed_as_typed() -> None:
    assert shell_line(("rba", "export", "--output=a b")) == "rba export '--output=a b'"
    assert shell_line(("train.py", "x=1")) == "python train.py x=1"


def test_a_failing_command_ends_the_workflow(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="ended with status 2"):
        run_command(("rba", "export"))
    assert "$ rba export" in capfd.readouterr().out


def test_the_commit_says_whether_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    assert git_commit() == "unknown"

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message=one")
    assert len(git_commit()) == 40
    (tmp_path / "file").write_text("two")
    assert git_commit().endswith(" with changes")
