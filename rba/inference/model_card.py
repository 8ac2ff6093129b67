"""The card of an exported model: what it was trained on and how, from its checkpoint alone.

No date and no path of this machine: the text depends on weights and settings only.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from rba.batch import Mode
from rba.data.alternation import ModePattern
from rba.models.checkpoint import BASE_KEY, CHECKPOINT_KEY
from rba.models.origins import FRONT_MATTER_KEY, RANDOM, UNKNOWN, Origins

# The settings that made the weights; how the run was watched and saved is left out.
_SETTINGS = ("seed", "train_parts", "lora", "max_steps", "global_batch", "alternation", "objective",
             "optimizer", "model", "data")  # fmt: skip
_LEFT_OUT = ("source", "shards", "validation_shards", "storage", "num_workers", "prefetch",
             "persistent_workers")  # fmt: skip
_LICENCE_IDS = {"CreativeML OpenRAIL-M": "creativeml-openrail-m", "Apache-2.0": "apache-2.0"}
_UNLISTED_SHARDS = 12  # more are counted


def write_card(
    checkpoint: Mapping[str, Any], *, use_ema: bool, dtype: str, figures: Sequence[str] = ()
) -> str:
    """Return ``README.md`` of a model directory.

    Args:
        checkpoint: As `read_checkpoint` returns it.
        use_ema: Whether the average is exported.
        dtype: Precision of the stored weights.
        figures: Lines of Markdown with what was measured.
    """
    facts = checkpoint[CHECKPOINT_KEY]
    config, origins = facts.get("config", {}), facts.get("origins", {})
    lines = [
        *_front_matter(origins),
        f"# {config.get('run_name', 'A model')}",
        "",
        "A model of reference-guided artifact refinement after Song et al., *Refine-by-Align*, "
        "ICLR 2025 (arXiv 2412.00306).",
        "",
        "```bash",
        "rba refine --model THIS_FOLDER --image image.png --mask mask.png --reference photo.jpg \\",
        "    --output refined.png",
        "```",
        *_weights(facts, origins, use_ema=use_ema, dtype=dtype),
        *_training(config, checkpoint["global_step"]),
        *_data(facts.get("stream", {})),
        *(figures or ("", "## Figures", "", "Not measured.")),
        *_settings(config),
    ]
    return "\n".join(lines) + "\n"


def _front_matter(origins: Origins) -> list[str]:
    known = {_LICENCE_IDS.get(origin["licence"]) for origin in origins.values()}
    licences = known - {_LICENCE_IDS["Apache-2.0"]} if len(known) > 1 else known
    told: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "image-to-image",
        "license": (licences.pop() if len(licences) == 1 else None) or "other",
    }
    if origins:
        told[FRONT_MATTER_KEY] = dict(origins)
    return ["---", yaml.safe_dump(told, sort_keys=True).rstrip(), "---", ""]


def _weights(facts: Mapping[str, Any], origins: Origins, *, use_ema: bool, dtype: str) -> list[str]:
    rows = [
        f"| {name} | {origin['source']} | {origin['licence'] or 'of whoever trained it'} |"
        for name, origin in origins.items()
    ]
    trained = facts.get(BASE_KEY, {}).get("train_parts")
    told = f"Trained: {', '.join(trained)}; the rest is as it was." if trained else ""
    notes = [
        "Weights made from these are under their licences as well; CreativeML OpenRAIL-M limits "
        "what they may be used for and asks to hand these limits on."
        if any("OpenRAIL" in origin["licence"] for origin in origins.values())
        else "",
        "Of the places marked unknown nothing is known here: ask where the weights came from."
        if any(UNKNOWN in origin["licence"] for origin in origins.values())
        else "",
    ]
    return [
        "",
        "## Weights",
        "",
        f"{'The moving average' if use_ema else 'The trained weights as they were'}, stored in "
        f"{dtype}. {told}".rstrip(),
        "",
        "| part | began as | licence |",
        "|---|---|---|",
        *(rows or [f"| all | {RANDOM} or not recorded | {UNKNOWN} |"]),
        *(line for note in notes if note for line in ("", note)),
    ]


def _training(config: Mapping[str, Any], steps: int) -> list[str]:
    lines = ["", "## Training", "", f"- optimiser steps: {steps:,}"]
    if "global_batch" in config:
        batch = config["global_batch"]
        lines.append(f"- samples a step: {batch}")
        pattern = ModePattern(**_pattern(config.get("alternation", {})))
        lines += [
            f"- samples of {mode.value}: {pattern.earlier_steps(steps, mode) * batch:,}"
            for mode in Mode
        ]
    precision = config.get("trainer", {}).get("precision")
    return [*lines, *([f"- precision: {precision}"] if precision else [])]


def _pattern(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith("_")}


def _data(stream: Mapping[str, Any]) -> list[str]:
    rows: list[str] = []
    for mode in (mode.value for mode in Mode if mode.value in stream):
        for name, told in stream[mode]["sets"].items():
            shards = [line.rsplit(" ", 2) for line in told["shards"].splitlines()]
            samples = sum(int(count) for _, count, _ in shards)
            digest = hashlib.sha256(told["shards"].encode()).hexdigest()[:16]
            names = ", ".join(f"`{shard} {short}`" for shard, _, short in shards[:_UNLISTED_SHARDS])
            more = f" and {len(shards) - _UNLISTED_SHARDS} more" * (len(shards) > _UNLISTED_SHARDS)
            rows.append(
                f"| {mode} | {_portable(name)} | {samples:,} | {len(shards)} | `{digest}` | "
                f"{names}{more} |"
            )
    if not rows:
        return ["", "## Data", "", "Not recorded."]
    return [
        "",
        "## Data",
        "",
        "Digests are the first 16 digits of SHA-256: of each shard, and of a set's list of shards.",
        "",
        "| mode | set | samples | shards | digest of the set | shards with their digests |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _settings(config: Mapping[str, Any]) -> list[str]:
    chosen = {name: _plain(config[name]) for name in _SETTINGS if name in config}
    decay = config.get("callbacks", {}).get("ema", {}).get("decay")
    if decay is not None:
        chosen["ema_decay"] = decay
    if not chosen:
        return []
    text = yaml.safe_dump(chosen, sort_keys=False, width=100).rstrip()
    return ["", "## Settings", "", "```yaml", text, "```"]


def _plain(node: Any) -> Any:
    """Return settings without what only holds on one machine."""
    if isinstance(node, Mapping):
        return {k: _plain(v) for k, v in _kept(node)}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return _portable(node) if isinstance(node, str) else node


def _kept(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if not key.startswith("_") and key not in _LEFT_OUT:
            yield key, value


def _portable(text: str) -> str:
    return PurePath(text).name if text.startswith(("/", "~")) else text
