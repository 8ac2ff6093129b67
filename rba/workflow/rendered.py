"""Rendered data and the shards made of it, as commands."""

import dataclasses
from pathlib import Path
from typing import Any

from rba.workflow.commands import overrides
from rba.workflow.steps import Command

# Photos are crops of few pictures, and alike: filters for collections would leave some out.
_ALL_ARE_KEPT = {"near_distance": -1, "min_sharpness": 0, "min_contrast": 0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderedData:
    """Rendered objects and photos, and the shards made of them (``conf/rendered/``).

    ``DATA/train/objects``, ``DATA/train/photos``, ``DATA/calibration`` and ``DATA/test`` hold
    pictures; ``DATA/shards/alignment``, ``refinement`` and ``validation`` the shards.

    Attributes:
        style: Settings of ``data_tools/render_objects.py`` that all sets share.
        train: Settings of the training set alone, photos among them.
        calibration: Those of the set on which sampler step and layer are chosen.
        test: Those of the set that is measured on.
        workers: Rendering processes.
        shortest_side: Photos with a shorter side are left out of the alignment shards, pixels.
        min_matches: Pairs with fewer matches are left out of the refinement shards.
        samples_per_shard: Samples a shard.
    """

    style: dict[str, Any]
    train: dict[str, Any]
    calibration: dict[str, Any]
    test: dict[str, Any]
    workers: int
    shortest_side: int
    min_matches: int
    samples_per_shard: int

    def folders(self, data: Path) -> dict[str, tuple[Path, ...]]:
        """Return the folders of pictures of each set."""
        return {
            "train": (data / "train" / "objects", data / "train" / "photos"),
            "calibration": (data / "calibration",),
            "test": (data / "test",),
        }

    def render(self, data: Path) -> dict[str, Command]:
        """Return the command that renders each set."""
        commands: dict[str, Command] = {}
        for name, (objects, *photos) in self.folders(data).items():
            settings: dict[str, Any] = {"out": objects, **self.style, **getattr(self, name)}
            if photos:
                settings["photos_out"] = photos[0]
            words = overrides({**settings, "workers": self.workers})
            commands[name] = ("data_tools/render_objects.py", *words)
        return commands

    def shards(self, data: Path) -> dict[str, Command]:
        """Return the command that builds each set of shards.

        ``alignment`` holds the photos and, with their masks, the object views.
        """
        refinement = {
            "refinement": data / "train" / "objects",
            "validation": data / "calibration",
        }
        out, last = shard_folders(data), {"samples_per_shard": self.samples_per_shard}
        photos = {
            "images": data / "train",
            "shortest_side": self.shortest_side,
            **_ALL_ARE_KEPT,
            "out": out["alignment"],
        }
        words = overrides({**photos, **last})
        commands = {"alignment": ("data_tools/build_alignment_shards.py", *words)}
        for name, objects in refinement.items():
            settings = {"objects": objects, "min_matches": self.min_matches, "out": out[name]}
            words = overrides({**settings, **last})
            commands[name] = ("data_tools/build_refinement_shards.py", *words)
        return commands


def shard_folders(data: Path) -> dict[str, Path]:
    """Return the folders of the shards of both modes and of validation."""
    names = ("alignment", "refinement", "validation")
    return {name: data / "shards" / name for name in names}
