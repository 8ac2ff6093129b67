"""Render the web page's examples: python data_tools/render_examples.py out=rba/assets/examples."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks import load_profile
from rba.masks.generator import generate_mask
from rba.pictures import write_png
from rba.rendering.defects import make_defect
from rba.rendering.glyphs import glyphs_of
from rba.rendering.pair import PairSettings, RenderedPair, render_pair
from rba.rendering.style import PrintStyle
from rba.rendering.textures import WHEEL_PHOTOS, load_textures
from rba.settings import plain, tool_main

_SPLIT = "heldout"
_ATTEMPTS = 20
_SMALLEST_MATCHED = 0.9  # share of the mask that the reference shows as well


def main(config: DictConfig) -> None:
    """Write one folder an example, in the order of the configuration."""
    settings: dict[str, Any] = plain(config)
    style = PrintStyle(
        density=tuple(settings["density"]),
        empty_share=settings["empty_share"],
        mosaic_share=settings["mosaic_share"],
    )
    pair_settings = PairSettings(
        shapes=tuple(settings["shapes"]),
        rotation_degrees=tuple(settings["rotation_degrees"]),
        roll_degrees=settings["roll_degrees"],
        fill=tuple(settings["fill"]),
        style=style,
    )
    textures = load_textures(None, _SPLIT)
    out = Path(settings["out"]).expanduser()
    for number, example in enumerate(settings["objects"], 1):
        rng = keyed_generator(settings["seed"], "object", _SPLIT, example["index"])
        pair = render_pair(textures, rng, settings["size"], pair_settings, glyphs_of(_SPLIT))
        mask = _mask(pair, settings, example["index"])
        rng = keyed_generator(settings["seed"], "defect", "synthetic", example["index"])
        folder = out / f"{number}-{pair.shape}"
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / "image.png", make_defect(pair.first.image, mask, rng))
        write_png(folder / "mask.png", mask)
        write_png(folder / "reference.png", pair.second.image)
        write_png(folder / "reference_mask.png", pair.second.mask)
        facts = _facts(textures, settings, example)
        (folder / "case.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        print(f"{folder}: {example['title']}")


def _mask(pair: RenderedPair, settings: Mapping[str, Any], index: int) -> np.ndarray:
    """Draw an artifact mask on the part of the object that the reference shows as well."""
    profile = load_profile(settings["profile"])
    visible = np.asarray(np.isfinite(pair.first.correspondence).all(axis=2))
    height, width = visible.shape
    for attempt in range(_ATTEMPTS):
        rng = keyed_generator(settings["seed"], f"mask-{attempt}", "synthetic", index)
        mask = generate_mask(profile, rng, height, width, inside=visible)
        if visible[mask].mean() >= _SMALLEST_MATCHED:
            return mask
    raise InputError(f"object {index}: none of {_ATTEMPTS} masks is seen on the reference")


def _facts(
    textures: Mapping[str, Any], settings: Mapping[str, Any], example: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "title": example["title"],
        "task": "view_synthesis",
        "generator": "synthetic defect",
        "settings": {
            "num_inference_steps": settings["num_inference_steps"],
            "guidance_scale": settings["guidance_scale"],
        },
        "rendered": {"seed": settings["seed"], "split": _SPLIT, "index": example["index"]},
        "photographs": {
            name: {"author": WHEEL_PHOTOS[name].author, "licence": WHEEL_PHOTOS[name].licence}
            for name in sorted(textures)  # on the object, or behind it
        },
    }


if __name__ == "__main__":
    tool_main("render_examples", main)
