"""Profiles as YAML or JSON files, and the shipped ones by name."""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rba.errors import InputError
from rba.masks.groups import VERSION, MaskGroup, MaskProfile

_MAX_BYTES = 64_000


def load_profile(name_or_path: str | Path) -> MaskProfile:
    """Load a shipped profile by name (``pal``), or one from a YAML or JSON file.

    Raises:
        InputError: If it does not exist, or does not describe a profile.
    """
    text = _read(name_or_path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"mask profile {name_or_path} is not YAML or JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"mask profile {name_or_path} must be a mapping, see profile=pal")
    try:
        return _from_mapping(content)
    except InputError as error:
        raise InputError(f"mask profile {name_or_path}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"mask profile {name_or_path} holds a value of a wrong kind: {error}"
        raise InputError(message) from error


def save_profile(profile: MaskProfile, path: str | Path, comment: str = "") -> None:
    """Write a profile as YAML, numbers to four digits, under 64 kB.

    Args:
        profile: What to write.
        path: The file.
        comment: Lines for the head of the file.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"name: {_text(profile.name)}", f"version: {VERSION}", "groups:"]
    for group in profile.groups:
        lines += [f"  - name: {_text(group.name)}", f"    weight: {group.weight:.6g}"]
        lines += [f"    families: {{{_pairs(group.families)}}}"]
        for key in ("quantiles", "aims"):
            tables: Mapping[str, Any] = getattr(group, key)
            lines += [f"    {key}:"] if tables else []
            for name, table in tables.items():
                points = ", ".join(f"[{p:.4g}, {v:.4g}]" for p, v in table)
                lines += [f"      {name}: [{points}]"]
        lines += ["    correlations:"] if group.correlations else []
        lines += [f"      - [{a}, {b}, {value:.2f}]" for a, b, value in group.correlations]
    text = "\n".join(lines) + "\n"
    assert len(text) < _MAX_BYTES, len(text)
    Path(path).write_text(text, encoding="utf-8")


def _text(value: str) -> str:
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10_000).strip()


def _pairs(values: Mapping[str, float]) -> str:
    return ", ".join(f"{key}: {value:.4g}" for key, value in values.items())


def _read(name_or_path: str | Path) -> str:
    shipped = resources.files("rba.masks") / "profiles"
    known = sorted(item.name.removesuffix(".yaml") for item in shipped.iterdir())
    if str(name_or_path) in known:
        return (shipped / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    try:
        return Path(name_or_path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"mask profile {str(name_or_path)!r} cannot be read ({error}); give one of {known} "
            "or the path of a YAML or JSON file"
        ) from error


def _from_mapping(content: dict[str, Any]) -> MaskProfile:
    if "area_quantiles" in content:
        raise InputError("it is of version 1; version 2 has groups, see profile=pal")
    _check_keys(content, {"name", "groups"}, {"version"})
    if content.get("version", VERSION) != VERSION:
        raise InputError(f"version {content['version']} is not {VERSION}; fit the profile anew")
    return MaskProfile(name=str(content["name"]), groups=tuple(map(_group, content["groups"])))


def _group(content: dict[str, Any]) -> MaskGroup:
    fields = {field.name for field in dataclasses.fields(MaskGroup)}
    _check_keys(content, {"weight", "quantiles"}, fields)
    values: dict[str, Any] = {**content, "weight": float(content["weight"])}
    for key in ("quantiles", "aims"):
        if key in content:
            values[key] = {name: _points(table) for name, table in content[key].items()}
    if "correlations" in content:
        values["correlations"] = tuple((a, b, float(v)) for a, b, v in content["correlations"])
    if "families" in content:
        values["families"] = {name: float(v) for name, v in content["families"].items()}
    return MaskGroup(**values)


def _points(table: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(p), float(v)) for p, v in table)


def _check_keys(content: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    unknown = sorted(str(key) for key in content.keys() - required - optional)
    missing = sorted(required - content.keys())
    if unknown or missing:
        raise InputError(f"unknown keys {unknown}, missing keys {missing}")
