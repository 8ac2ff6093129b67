"""Cases with known truth, from rendered objects: a defect in one view, the other as reference."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rba.case import Case
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.generator import generate_mask
from rba.masks.profile import MaskProfile, load_profile
from rba.pictures import read_image
from rba.rendering.defects import make_defect
from rba.rendering.files import ObjectFolder, open_object_folder

_ATTEMPTS = 20  # masks that are drawn before an object is given up


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """How cases are made of rendered objects.

    Attributes:
        profile: Name or path of the mask profile.
        seed: Keys masks and defects.
        smallest_truth: A mask whose content covers a smaller share of the reference picture is
            drawn anew.
        smallest_matched: At least this share of the mask must have a match on the reference.
    """

    profile: str = "pal"
    seed: int = 0
    smallest_truth: float = 0.001
    smallest_matched: float = 0.9


def synthetic_cases(root: str | Path, count: int, settings: SyntheticSettings) -> Iterator[Case]:
    """Make cases of the objects in a folder, in order: a pure function of folder and settings.

    Case k shows object k modulo their number; each further round swaps the two views.

    Args:
        root: Folder of object folders with exact correspondences, as `render_objects` writes them.
        count: Number of cases.
        settings: Profile, seed, limits.

    Yields:
        ``count`` cases with truth and correspondence mask. ``metadata["object"]`` names the object;
        ``metadata["look_alikes"]`` says whether places of it look alike, if ``object.json`` does.

    Raises:
        InputError: If the folder holds no object, an object has no exact correspondence, or no mask
            can be placed on it.
    """
    folders = object_folders(root)
    profile = load_profile(settings.profile)
    for index in range(count):
        turn, number = divmod(index, len(folders))
        folder = open_object_folder(folders[number])
        yield _make_case(folder, index, profile, settings, swapped=turn % 2 == 1)


def object_folders(root: str | Path) -> list[Path]:
    """List the object folders of a folder, sorted by name.

    Raises:
        InputError: If it is no folder, or holds none.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the output folder of render_objects")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if not folders:
        raise InputError(f"{root} holds no object folder; render some with render_objects")
    return folders


def exact_correspondence_mask(artifact_mask: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Bring an artifact mask to the reference by the exact correspondence.

    Args:
        artifact_mask: HxW bool on the image.
        backward: hxwx2 float over the reference: each pixel's position (x, y) in the image in
            pixels, centres at +0.5; NaN = not visible there.

    Returns:
        hxw bool: the reference's pixels whose place in the image lies under the mask.
    """
    height, width = artifact_mask.shape
    valid = np.isfinite(backward).all(axis=2)
    columns, rows = (
        np.clip(np.where(valid, backward[..., axis], 0.0).astype(int), 0, limit - 1)
        for axis, limit in ((0, width), (1, height))
    )
    return valid & artifact_mask[rows, columns]


def _make_case(
    folder: ObjectFolder,
    index: int,
    profile: MaskProfile,
    settings: SyntheticSettings,
    *,
    swapped: bool,
) -> Case:
    if len(folder.views) < 2:
        raise InputError(f"{folder.path} holds {len(folder.views)} view; a pair needs two")
    first, second = folder.views[:2][::-1] if swapped else folder.views[:2]
    image, reference = read_image(first), read_image(second)
    height, width = image.shape[:2]
    forward = folder.correspondence(first, second, (reference.shape[1], reference.shape[0]))
    backward = folder.correspondence(second, first, (width, height))
    if forward is None or backward is None:
        raise InputError(
            f"{folder.path} has no exact correspondence between {first.name} and {second.name}; "
            "only rendered objects can be scored exactly"
        )
    visible = np.asarray(np.isfinite(forward).all(axis=2))
    for attempt in range(_ATTEMPTS):
        rng = keyed_generator(settings.seed, f"mask-{attempt}", "synthetic", index)
        if not visible.any():
            break
        mask = generate_mask(profile, rng, height, width, inside=visible)
        truth = exact_correspondence_mask(mask, backward)
        matched = float(visible[mask].mean())
        if truth.mean() >= settings.smallest_truth and matched >= settings.smallest_matched:
            return Case(
                id=f"{index:05d}-{folder.path.name}",
                image=make_defect(
                    image, mask, keyed_generator(settings.seed, "defect", "synthetic", index)
                ),
                artifact_mask=mask,
                references=(reference,),
                reference_masks=(folder.object_mask(second),),
                truth=image,
                correspondence_mask=truth.astype(np.float32),
                task="view_synthesis",
                generator="synthetic defect",
                metadata={
                    "object": folder.path.name,
                    "image": first.name,
                    **_look_alikes(folder.path),
                },
            )
    raise InputError(
        f"{folder.path}: none of {_ATTEMPTS} masks has a match of at least "
        f"{settings.smallest_truth:.2%} of the reference; the views may share too little"
    )


def _look_alikes(folder: Path) -> dict[str, bool]:
    """Return what ``object.json`` says about look-alike places; nothing where it does not."""
    path = folder / "object.json"
    if not path.is_file():
        return {}
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    known = facts.get("look_alikes") if isinstance(facts, dict) else None
    return {"look_alikes": known} if isinstance(known, bool) else {}
