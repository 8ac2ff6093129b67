"""Benchmark groups with exact truth: rendered scenes of four kinds, each with a known defect."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from rba.case import Case
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.evaluation.benchmark import FACTS, write_case
from rba.evaluation.synthetic import exact_correspondence_mask
from rba.masks.generator import generate_mask
from rba.masks.groups import MaskProfile
from rba.masks.profile import load_profile
from rba.rendering.defects import DEFECTS, make_defect_of
from rba.rendering.glyphs import Glyphs, glyphs_of
from rba.rendering.pair import RenderedPair
from rba.rendering.scene import render_scene
from rba.rendering.scene_settings import SceneSettings
from rba.rendering.textures import load_textures

GENERATOR = "synthetic"
_MASK_ATTEMPTS = 20
_SCENE_ATTEMPTS = 20
_PART = ".part"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskLimits:
    """Which masks fit a scene; others are drawn anew.

    Attributes:
        smallest_truth: Share of the reference that the mask's content covers at least.
        smallest_matched: Share of the mask that the reference must show as well.
        largest_of_object: Share of the object that the mask covers at most: too little would be
            left to tell by.

    Raises:
        InputError: If a share is out of [0, 1].
    """

    smallest_truth: float = 0.001
    smallest_matched: float = 0.9
    largest_of_object: float = 0.5

    def __post_init__(self) -> None:
        for name in ("smallest_truth", "smallest_matched", "largest_of_object"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: give a share in [0, 1]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What a rendered benchmark is made of.

    Attributes:
        scenes: For each kind (the task's name) what its scenes are drawn from.
        counts: Groups of each kind in the complete set.
        split: ``all``, ``train`` or ``heldout`` photographs, letters and logos.
        textures: Folder of pictures; None = those inside the scikit-image wheel.
        profile: Name or path of the mask profile.
        defects: Kinds of damage, which take turns.
        masks: Which masks fit.
        size: Side of the pictures in pixels.
        seed: Keys everything.

    Raises:
        InputError: If a value is out of its range, or a name is unknown.
    """

    scenes: Mapping[str, SceneSettings]
    counts: Mapping[str, int]
    split: str = "train"
    textures: str | None = None
    profile: str = "pal"
    defects: tuple[str, ...] = DEFECTS
    masks: MaskLimits = dataclasses.field(default_factory=MaskLimits)
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.counts or set(self.counts) != set(self.scenes) or min(self.counts.values()) < 0:
            raise InputError(f"counts {dict(self.counts)}: give one >= 0 for each kind of scene")
        unknown = sorted(set(self.defects) - set(DEFECTS))
        if unknown or not self.defects:
            raise InputError(f"defects {list(self.defects)}: give some of {', '.join(DEFECTS)}")
        if not 48 <= self.size <= 2048:
            raise InputError(f"size {self.size}: give 48 to 2048 pixels")
        glyphs_of(self.split)


def spread_count(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Share ``total`` groups out among kinds in proportion to their counts, largest rests first.

    Raises:
        InputError: If ``total`` is below 1, or all counts are 0.
    """
    whole = sum(counts.values())
    if total < 1 or whole < 1:
        raise InputError(f"{total} groups of {dict(counts)}: give at least 1")
    shares = {kind: total * count / whole for kind, count in counts.items()}
    result = {kind: int(share) for kind, share in shares.items()}
    rests = sorted(counts, key=lambda kind: result[kind] - shares[kind])
    for kind in rests[: total - sum(result.values())]:
        result[kind] += 1
    return result


class BenchRenderer:
    """Makes the groups of a benchmark, each a pure function of the settings, kind and number.

    Args:
        settings: Of the set. Photographs and profile are read at once.

    Raises:
        InputError: If photographs or profile cannot be read.
    """

    def __init__(self, settings: BenchSettings) -> None:
        self.settings = settings
        self._textures = load_textures(settings.textures, settings.split)
        self._profile = load_profile(settings.profile)
        self._glyphs: Glyphs = glyphs_of(settings.split)

    def names(self) -> list[tuple[str, int, str]]:
        """List (kind, number, id) of all groups in the order of their folders."""
        groups = [
            (kind, number, f"{kind}-{number:04d}")
            for kind, count in self.settings.counts.items()
            for number in range(count)
        ]
        return sorted(groups, key=lambda group: group[2])

    def render(self, kind: str, number: int) -> Case:
        """Render one group; a scene on which no mask fits is drawn anew.

        Raises:
            InputError: If none of 20 scenes takes a mask.
        """
        settings = self.settings
        space = f"bench/{settings.split}/{kind}"
        for attempt in range(_SCENE_ATTEMPTS):
            rng = keyed_generator(settings.seed, f"scene-{attempt}", space, number)
            pair = render_scene(
                self._textures, rng, settings.size, settings.scenes[kind], self._glyphs
            )
            masks = draw_masks(
                pair,
                self._profile,
                settings.masks,
                keyed_generator(settings.seed, f"mask-{attempt}", space, number),
            )
            if masks is not None:
                rng = keyed_generator(settings.seed, "defect", space, number)
                return self._case(kind, number, pair, masks, rng)
        raise InputError(
            f"{kind} {number}: none of {_SCENE_ATTEMPTS} scenes has a mask whose content is seen "
            "on the reference; lower smallest_truth, or turn the object less"
        )

    def _case(
        self,
        kind: str,
        number: int,
        pair: RenderedPair,
        masks: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
    ) -> Case:
        mask, truth = masks
        turns = self.settings.defects
        wanted = [turns[(number + step) % len(turns)] for step in range(len(turns))]
        image, defect = make_defect_of(wanted, pair.first.image, mask, rng, self._glyphs)
        name = f"{kind}-{number:04d}"
        return Case(
            id=name,
            image=image,
            artifact_mask=mask,
            references=(pair.second.image,),
            reference_masks=(pair.second.mask,),
            truth=pair.first.image,
            correspondence_mask=truth.astype(np.float32),
            task=kind,
            generator=GENERATOR,
            metadata={
                "object": name,
                "defect": defect,
                "shape": pair.shape,
                "photographs": list(pair.textures),
                "look_alikes": pair.look_alikes,
                "rotation_degrees": round(pair.rotation_degrees, 2),
                "object_share": round(float(pair.first.mask.mean()), 4),
            },
        )


def draw_masks(
    pair: RenderedPair, profile: MaskProfile, limits: MaskLimits, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw an artifact mask on what both views show, and its content on the reference.

    Args:
        pair: Image and reference.
        profile: Of the mask.
        limits: What fits.
        rng: Source of all randomness.

    Returns:
        SxS bool on the image and on the reference; None where 20 masks do not meet the limits.
    """
    matched = np.asarray(np.isfinite(pair.first.correspondence).all(axis=2))
    visible = (
        cv2.morphologyEx(matched.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    )
    if not visible.any():
        return None
    for _ in range(_MASK_ATTEMPTS):
        mask = generate_mask(profile, rng, *visible.shape, inside=visible)
        truth = exact_correspondence_mask(mask, pair.second.correspondence)
        fits = truth.mean() >= limits.smallest_truth
        fits &= matched[mask].mean() >= limits.smallest_matched
        if fits and mask.sum() <= limits.largest_of_object * pair.first.mask.sum():
            return mask, truth
    return None


def write_groups(renderer: BenchRenderer, folder: Path) -> Iterator[str]:
    """Write the groups that a folder lacks; each is written aside and renamed when whole.

    Args:
        renderer: Of the set.
        folder: An existing folder.

    Yields:
        The id of each group, those that were there as well.
    """
    for stale in folder.glob(f".*{_PART}"):
        shutil.rmtree(stale)
    for kind, number, name in renderer.names():
        if not (folder / name / FACTS).is_file():
            aside = folder / f".{name}{_PART}"
            write_case(aside, renderer.render(kind, number))
            aside.rename(folder / name)
        yield name
