"""The project's commands, put together and run.

Every command is one that a user could type: it is printed as such and run in its own process.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.settings import CONFIG_FOLDER
from rba.workflow.steps import Command

ROOT = CONFIG_FOLDER.parent
_PLAIN = re.compile(r"[\w./:@%+~-]+")  # text that Hydra reads as it stands


def shell_line(command: Command) -> str:
    """Return a command as a user types it in the project's folder."""
    words = command if command[0] == "rba" else ("python", *command)
    return shlex.join(words)


def run_command(command: Command) -> None:
    """Print and run a command of the project.

    Raises:
        InputError: If it fails.
    """
    print(f"\n$ {shell_line(command)}", flush=True)
    script, *arguments = command
    start = ["-m", "rba.cli"] if script == "rba" else [str(ROOT / script)]
    done = subprocess.run([sys.executable, *start, *arguments], check=False)
    if done.returncode:
        raise InputError(f"the command above ended with status {done.returncode}")


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as Hydra overrides, ``key=value``."""
    return [f"{key}={_value(value)}" for key, value in settings.items()]


def options(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as options of ``rba``, ``--key=value``; those that are None are left out."""
    return [
        f"--{key.replace('_', '-')}={value}" for key, value in settings.items() if value is not None
    ]


def git_commit() -> str:
    """Return the commit of the project's folder, marked where files differ; ``unknown`` outside."""
    texts: list[str] = []
    for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        command = ["git", "-C", str(ROOT), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return "unknown"
        if done.returncode:
            return "unknown"
        texts.append(done.stdout.strip())
    return texts[0] + (" with changes" if texts[1] else "")


def train_command(
    shards: Mapping[str, Path], run: Path, settings: Mapping[str, Any], more: Sequence[str] = ()
) -> Command:
    """Return the command that trains the tiny scale.

    Args:
        shards: Folders by name, ``alignment``, ``refinement`` and ``validation``.
        run: Folder of the run.
        settings: Of ``conf/train.yaml``; those that are None are left out.
        more: Further overrides; they win.
    """
    given: dict[str, Any] = {
        "experiment": "tiny",
        "runs_folder": run.parent,
        "run_name": run.name,
        **{key: value for key, value in settings.items() if value is not None},
        "data.alignment.shards": shards["alignment"],
        "data.refinement.shards": shards["refinement"],
        "data.refinement.validation_shards": shards["validation"],
    }
    return ("train.py", *overrides(given), *more)


def export_command(run: Path, step: int, output: Path, *more: str) -> Command:
    """Return the command that writes the averaged weights of a step as a model directory."""
    checkpoint = run / "checkpoints" / f"step_{step:08d}.ckpt"
    return ("rba", "export", *options({"checkpoint": checkpoint, "output": output}), *more)


def evaluate_command(model: Path, data: Path, output: Path, settings: Mapping[str, Any]) -> Command:
    """Return the command that calibrates a model, stores the choice in it, and measures it.

    Args:
        model: Model directory.
        data: Folder of the data; calibrated and measured on different sets of it.
        output: Folder of the report.
        settings: Further options of ``rba evaluate``.
    """
    given = {
        "model": model,
        "objects": data / "test",
        "calibrate_on": data / "calibration",
        "output": output,
        **settings,
    }
    return ("rba", "evaluate", *options(given), "--write-calibration")


def _value(value: Any) -> str:
    """Write a value in Hydra's grammar, quoted where it must be."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_value, value))}]"
    text = str(value)
    if isinstance(value, (int, float)) or _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "\\'") + "'"
