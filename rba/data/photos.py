"""Read, judge and encode one photo: the loader of alignment shards."""

import dataclasses
import io
import json
import os
import warnings
from typing import Any

import cv2
import numpy as np

from rba.data.build.built import Built, Fingerprint
from rba.data.build.sizes import DroppedError, bounded, fit_mask
from rba.data.encoding import encode_jpeg, encode_mask
from rba.data.fetch import is_url, read_file, read_range, read_url
from rba.data.photo_decode import decode_photo, read_header, whole_jpeg
from rba.data.photo_lists import Photo
from rba.data.sample import JPEG_QUALITY, encode_json
from rba.data.tar_members import CAPTION, FACTS, IMAGE, MASK
from rba.errors import InputError
from rba.pictures import read_mask

_MOST_FACTS = 65536  # bytes of a photo's own JSON
_JUDGED_SIDE = 512  # pixels: sharpness is measured at the size that is trained at


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoLimits:
    """Which photos are kept, and how.

    Attributes:
        longest_side: Larger photos are shrunk to this, pixels.
        shortest_side: Photos with a shorter side are dropped, pixels; measured before shrinking.
        quality: JPEG quality of photos that are encoded anew, 1 to 100.
        most_pixels: Photos with more are dropped before they are decoded.
        min_sharpness: Variance of the Laplacian of the grey picture (0 to 255) at 512 pixels.
        min_contrast: Standard deviation of the most varied channel (0 to 255) at 128 x 128.
    """

    longest_side: int = 1024
    shortest_side: int = 256
    quality: int = JPEG_QUALITY
    most_pixels: int = 200_000_000
    min_sharpness: float = 0.0
    min_contrast: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Files:
    """The bytes that belong to a photo."""

    image: bytes
    mask: bytes | None
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class PhotoLoader:
    """Turn a photo into an alignment sample.

    A JPEG whose pixels need no change is stored as it is, up to its end.

    Attributes:
        root: What relative paths start from.
        limits: What is kept.
    """

    root: str
    limits: PhotoLimits

    def __call__(self, photo: Photo, key: str) -> Built:
        """Read a photo.

        Raises:
            DroppedError: With the reason.
        """
        del key
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged tags
            try:
                return self._build(photo, self._read(photo))
            except (MemoryError, cv2.error) as error:
                raise DroppedError("unreadable") from error

    def _read(self, photo: Photo) -> _Files:
        if is_url(photo.path):
            return _Files(read_url(photo.path), None, {})
        path = os.path.join(self.root, photo.path)
        if photo.members is not None:
            parts = {suffix: read_range(path, *p) for suffix, p in photo.members.items() if p[1]}
            if IMAGE not in parts:
                raise DroppedError("empty file")
            facts = _facts(parts.get(FACTS))
            if CAPTION in parts:
                facts.setdefault("caption", parts[CAPTION].decode("utf-8", "replace").strip())
            return _Files(parts[IMAGE], parts.get(MASK), facts)
        stem = os.path.splitext(path)[0]
        mask, facts = (read_beside(f"{stem}.{suffix}") for suffix in (MASK, FACTS))
        return _Files(read_file(path), mask, _facts(facts))

    def _build(self, photo: Photo, files: _Files) -> Built:
        limits, data = self.limits, files.image
        header = read_header(data, limits.most_pixels)
        if min(header.height, header.width) < limits.shortest_side:
            raise DroppedError("too small")
        fits = max(header.height, header.width) <= limits.longest_side
        as_it_is = header.plain and fits
        side = min(limits.longest_side, _JUDGED_SIDE) if as_it_is else limits.longest_side
        decoded = decode_photo(data, header, side, exact=not as_it_is)
        size = (header.height, header.width) if as_it_is else decoded.image.shape[:2]
        mask = decoded.alpha if files.mask is None else _mask(files.mask)
        if mask is not None:
            mask = fit_mask(mask, (header.height, header.width), (size[0], size[1]))
        fingerprint = Fingerprint.of(data, self._judge(decoded.image))
        stored = whole_jpeg(data) if as_it_is else encode_jpeg(decoded.image, limits.quality)
        facts = {"source": photo.name, **files.facts, **photo.facts, "path": photo.name}
        if header.frames > 1:
            facts["frames"] = header.frames  # the first is stored
        if not fits:
            facts["original_size"] = [header.width, header.height]
        members = {"jpg": stored, "json": encode_json(facts)}
        if mask is not None:
            members["mask.png"] = encode_mask(mask)
        return Built(members, fingerprint)

    def _judge(self, image: np.ndarray) -> np.ndarray:
        """Return the picture in grey, no larger than it is judged at.

        Raises:
            DroppedError: If it is blurred or has nearly one colour.
        """
        if self.limits.min_contrast > 0:
            small = cv2.resize(image, (128, 128), interpolation=cv2.INTER_LINEAR)
            if cv2.meanStdDev(small)[1].max() < self.limits.min_contrast:
                raise DroppedError("nearly one colour")
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = bounded(grey.shape[0], grey.shape[1], _JUDGED_SIDE)
        if grey.shape != (height, width):
            # Linear: fast, and good enough for what is decoded at less than twice the size.
            method = cv2.INTER_LINEAR if grey.shape[0] < 2 * height else cv2.INTER_AREA
            grey = cv2.resize(grey, (width, height), interpolation=method)
        if self.limits.min_sharpness > 0:
            edges = cv2.Laplacian(grey, cv2.CV_16S)  # its mean is zero but for the border
            if cv2.norm(edges, cv2.NORM_L2SQR) / edges.size < self.limits.min_sharpness:
                raise DroppedError("blurred")
        return grey


def read_beside(path: str) -> bytes | None:
    """Read a file that belongs to a photo; None where there is none, no bytes if unreadable."""
    if not os.path.lexists(path):
        return None
    try:
        return read_file(path)
    except DroppedError:
        return b""  # is refused where it is decoded


def _mask(data: bytes) -> np.ndarray:
    try:
        return read_mask(io.BytesIO(data))
    except InputError as error:
        raise DroppedError("unreadable mask") from error


def _facts(data: bytes | None) -> dict[str, Any]:
    """Read what a photo's own JSON says of it; a licence must not get lost unnoticed."""
    if data is None:
        return {}
    if len(data) > _MOST_FACTS:
        raise DroppedError("metadata of more than 64 KiB")
    try:
        # NaN and Infinity are no JSON: other readers would stop at them.
        facts = json.loads(data, parse_constant=lambda _: None)
        json.dumps(facts, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise DroppedError("unreadable metadata") from error
    if not isinstance(facts, dict):
        raise DroppedError("unreadable metadata")
    return facts
