"""Read, mask and match one pair of views: the loader of refinement shards."""

import dataclasses
import io
import os
import warnings
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from rba.data.build.sizes import DroppedError, fit_mask
from rba.data.fetch import is_url, read_file, read_url
from rba.data.objects.masks import ALPHA, FILE, GRABCUT, NONE, guess_mask
from rba.data.objects.views import View, ViewPair, shown
from rba.data.photo_decode import decode_photo, read_header
from rba.data.sample import MATCH_STRIDE, RefinementRecord
from rba.errors import InputError
from rba.pictures import read_mask

_ASPECT = 0.02  # share by which the aspect of a scaled mask may differ from its view's
MASKS = ("given", GRABCUT, NONE)


class Matcher(Protocol):
    """Matches two views from their pixels; see `rba.matching`."""

    def __call__(
        self,
        target: np.ndarray,
        target_mask: np.ndarray | None,
        reference: np.ndarray,
        reference_mask: np.ndarray | None,
    ) -> tuple[np.ndarray, str | None]:
        """Return the grid, and why the pair is to be left out or None."""
        ...


class ExactReader(Protocol):
    """Reads the grid of a target of a height and a width from its exact correspondence."""

    def __call__(self, path: str | Path, height: int, width: int) -> np.ndarray:
        """Return the grid."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which pairs are kept, and how.

    Attributes:
        longest_side: Larger views are shrunk to this, pixels.
        most_pixels: Views with more are left out before they are decoded.
        masks: ``given`` files and alpha; ``grabcut`` where there is none; ``none`` at all.
        matcher: ``exact``, the name of the matcher from pixels, or ``auto``: exact where the
            correspondence is there.
        min_matches: Nodes of the match grid that must have a match.
        min_overlap: Share of the target's nodes on the object that must; only where its mask is
            known.

    Raises:
        InputError: If a setting is unknown or out of its range.
    """

    longest_side: int = 1024
    most_pixels: int = 120_000_000
    masks: str = "given"
    matcher: str = "auto"
    min_matches: int = 24
    min_overlap: float = 0.05

    def __post_init__(self) -> None:
        if self.masks not in MASKS:
            raise InputError(f"masks={self.masks}; give {', '.join(MASKS)}")
        if not 0 <= self.min_overlap <= 1:
            raise InputError(f"min_overlap={self.min_overlap}; give 0 to 1")


@dataclasses.dataclass(frozen=True)
class ReadView:
    """A view at the size it is stored in.

    Attributes:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, the object, or None.
        mask_source: Where the mask is from: file, alpha, grabcut or none.
    """

    image: np.ndarray
    mask: np.ndarray | None
    mask_source: str


@dataclasses.dataclass(frozen=True)
class PairLoader:
    """Turn a pair into a refinement record; picklable where its matcher is.

    Attributes:
        root: What relative paths start from.
        settings: What is kept.
        read_exact: Reads exact correspondences.
        matcher: Matches views from their pixels; None = exact correspondences only.
        matcher_name: What records call it.
    """

    root: str
    settings: PairSettings
    read_exact: ExactReader
    matcher: Matcher | None = None
    matcher_name: str = "exact"

    def __call__(self, pair: ViewPair, key: str) -> RefinementRecord:
        """Read and match a pair.

        Raises:
            DroppedError: With the reason.
        """
        target, reference = self.views(pair)
        name, matches = self._match(pair, target, reference)
        known = np.isfinite(matches[..., 0])
        facts: dict[str, Any] = {
            **pair.facts,
            "object": pair.object,
            "views": [shown(pair.target.name), shown(pair.reference.name)],
            "matcher": name,
            "matches": int(known.sum()),
            "mask_source": [target.mask_source, reference.mask_source],
        }
        if known.sum() < self.settings.min_matches:
            raise DroppedError("too few matches")
        if target.mask is not None:
            facts["overlap"] = round(_overlap(known, target.mask), 4)
            if facts["overlap"] < self.settings.min_overlap:
                raise DroppedError("too little overlap")
        return RefinementRecord(
            key=key,
            target=target.image,
            reference=reference.image,
            target_mask=target.mask,
            reference_mask=reference.mask,
            matches=matches,
            metadata=facts,
        )

    def views(self, pair: ViewPair) -> tuple[ReadView, ReadView]:
        """Read both views of a pair.

        Raises:
            DroppedError: With the reason.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged tags
            try:
                files = [self._bytes(view.path) for view in (pair.target, pair.reference)]
                if files[0] == files[1]:
                    raise DroppedError("two views of one picture")
                return self._view(pair.target, files[0]), self._view(pair.reference, files[1])
            except (MemoryError, cv2.error) as error:
                raise DroppedError("unreadable") from error

    def exact(self, pair: ViewPair, target: ReadView) -> np.ndarray:
        """Read the matches of a pair whose geometry is known.

        Raises:
            DroppedError: If there are none, or they cannot be read.
        """
        if pair.correspondence is None:
            raise DroppedError("no exact correspondence")
        path = self.path(pair.correspondence)
        try:
            return self.read_exact(path, target.image.shape[0], target.image.shape[1])
        except InputError as error:
            raise DroppedError("unreadable correspondence") from error

    def path(self, path: str) -> str:
        """Return where a file lies on this machine."""
        return os.path.join(self.root, os.path.expanduser(path))

    def _match(
        self, pair: ViewPair, target: ReadView, reference: ReadView
    ) -> tuple[str, np.ndarray]:
        exact = self.settings.matcher == "exact" or (
            self.settings.matcher == "auto" and pair.correspondence is not None
        )
        if exact or self.matcher is None:
            return "exact", self.exact(pair, target)
        matches, fault = self.matcher(target.image, target.mask, reference.image, reference.mask)
        if fault is not None:
            raise DroppedError(fault)
        return self.matcher_name, matches

    def _bytes(self, path: str) -> bytes:
        return read_url(path) if is_url(path) else read_file(self.path(path))

    def _view(self, view: View, data: bytes) -> ReadView:
        header = read_header(data, self.settings.most_pixels)
        decoded = decode_photo(data, header, self.settings.longest_side)
        image, size = decoded.image, (header.height, header.width)
        mask, source = self._mask(view, size, decoded.alpha)
        if mask is not None:
            return ReadView(image, fit_mask(mask, size, image.shape[:2]), source)
        if self.settings.masks == GRABCUT:
            return ReadView(image, guess_mask(image), GRABCUT)
        return ReadView(image, None, NONE)

    def _mask(
        self, view: View, size: tuple[int, int], alpha: np.ndarray | None
    ) -> tuple[np.ndarray | None, str]:
        """Return the mask that is given with a view of height x width, and where it is from."""
        if self.settings.masks == NONE:
            return None, NONE
        path = view.mask
        if path is None and not is_url(view.path):
            path = os.path.splitext(view.path)[0] + ".mask.png"
            path = path if os.path.lexists(self.path(path)) else None
        if path is None:
            return (None, NONE) if alpha is None else (alpha, ALPHA)
        try:
            mask = read_mask(io.BytesIO(self._bytes(path)))
        except DroppedError as error:
            raise DroppedError(f"mask: {error}") from error
        except InputError as error:
            raise DroppedError("unreadable mask") from error
        if view.scaled_mask and _same_aspect(mask.shape, size):
            labels = mask.astype(np.uint8)
            mask = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST) > 0
        return mask, FILE


def _overlap(known: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of the grid's nodes on the object that have a match."""
    rows, columns = (
        np.minimum(np.arange(n) * MATCH_STRIDE + MATCH_STRIDE // 2, length - 1)
        for n, length in zip(known.shape, mask.shape, strict=True)
    )
    nodes = mask[np.ix_(rows, columns)]
    return float((known & nodes).sum() / max(int(nodes.sum()), 1))


def _same_aspect(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    return abs(shape[1] * size[0] / (shape[0] * size[1]) - 1.0) <= _ASPECT
