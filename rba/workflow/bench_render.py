"""``rba bench render``: the synthetic benchmark, as ``conf/bench/render.yaml`` describes it."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rba.errors import InputError
from rba.evaluation.rendered_bench import (
    BenchRenderer,
    BenchSettings,
    MaskLimits,
    spread_count,
    write_groups,
)
from rba.rendering.scene_settings import Look, SceneSettings
from rba.rendering.style import PrintStyle
from rba.settings import compose_config, plain

RECORD = "bench.json"
_CONFIG = "bench/render"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchRenderCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        output: Folder of the benchmark, made where it is missing.
        count: Groups in all; None = as the configuration says (146).
        split: ``easy``, or ``hard``: photographs, letters and shapes that training never used.
        size: Side of the pictures in pixels.
        seed: Keys everything.
        textures: Folder of photographs; None = those inside the scikit-image wheel.
        overrides: Of the configuration, ``kinds.try_on.count=10``.
    """

    output: str
    count: int | None = None
    split: str = "easy"
    size: int = 128
    seed: int = 0
    textures: str | None = None
    overrides: Sequence[str] = ()


def run_bench_render(command: BenchRenderCommand) -> None:
    """Render the groups that the folder lacks, and print what it holds.

    Raises:
        InputError: For every mistake in options and configuration, and where the folder holds
            groups of other settings, before anything is rendered.
    """
    settings = bench_settings(command)
    renderer = BenchRenderer(settings)
    folder = Path(command.output).expanduser()
    _open_folder(folder, _record(settings))
    names = renderer.names()
    done = write_groups(renderer, folder)
    for _ in tqdm(done, total=len(names), desc="groups", unit="group"):
        pass
    counts = ", ".join(f"{count} {kind}" for kind, count in settings.counts.items() if count)
    print(f"{len(names)} groups in {folder}: {counts} ({command.split}, {settings.size} pixels)")


def bench_settings(command: BenchRenderCommand) -> BenchSettings:
    """Compose the configuration and hold it and the options to their ranges.

    Raises:
        InputError: If a setting or an option is unknown or out of its range.
    """
    config: dict[str, Any] = plain(compose_config(_CONFIG, command.overrides))
    if command.split not in config["splits"]:
        raise InputError(f"--split {command.split}: give one of {', '.join(config['splits'])}")
    counts = {kind: values["count"] for kind, values in config["kinds"].items()}
    if command.count is not None:
        counts = spread_count(counts, command.count)
    try:
        return BenchSettings(
            scenes={
                kind: _scene(values, config, command.split)
                for kind, values in config["kinds"].items()
            },
            counts=counts,
            split=config["splits"][command.split],
            textures=command.textures,
            profile=config["profile"],
            defects=tuple(config["defects"]),
            masks=MaskLimits(**config["masks"]),
            size=command.size,
            seed=command.seed,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"a setting of a wrong kind in conf/{_CONFIG}.yaml: {error}") from error


def _scene(values: Mapping[str, Any], config: Mapping[str, Any], split: str) -> SceneSettings:
    fixed = ("count", "shapes", "image", "reference")
    ranges = {key: _frozen(value) for key, value in values.items() if key not in fixed}
    looks = {
        name: Look(**{key: _frozen(value) for key, value in values[name].items()})
        for name in ("image", "reference")
    }
    return SceneSettings(
        shapes=tuple(values["shapes"][split]),
        style=PrintStyle(**{key: _frozen(value) for key, value in config["style"].items()}),
        supersampling=config["supersampling"],
        **looks,
        **ranges,
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _record(settings: BenchSettings) -> dict[str, Any]:
    """What makes a group what it is; the counts do not."""
    record = dataclasses.asdict(settings)
    del record["counts"]
    textures = settings.textures
    record["textures"] = None if textures is None else Path(textures).expanduser().name
    return json.loads(json.dumps({"rendered": record}))


def _open_folder(folder: Path, record: Mapping[str, Any]) -> None:
    """Make the folder, or see that it holds groups of the same settings only."""
    path = folder / RECORD
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            before: Any = json.loads(path.read_text(encoding="utf-8"))
            if before != record:
                other = _difference(before, record)
                raise InputError(
                    f"--output {folder} holds groups of other settings ({other}); give another "
                    "folder, or the settings that it was begun with"
                )
        elif any(folder.iterdir()):
            raise InputError(f"--output {folder} is not empty; give a new folder")
        aside = folder / f".{RECORD}"
        aside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(aside, path)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not readable JSON: {error}; give another folder") from error
    except OSError as error:
        raise InputError(f"--output {folder} cannot be written to: {error.strerror}") from error


def _difference(before: Any, now: Mapping[str, Any]) -> str:
    old = before.get("rendered", {}) if isinstance(before, dict) else {}
    names = [key for key, value in now["rendered"].items() if old.get(key) != value]
    return ", ".join(
        f"{key} {old.get(key)!r:.40} there, {now['rendered'][key]!r:.40} now" for key in names
    )
