"""The records that shards hold: member names, codecs, schema version. Never pickle."""

import dataclasses
import io
import json
import tokenize
from collections.abc import Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np

from rba.batch import Mode
from rba.data.encoding import encode_array, encode_jpeg, encode_mask
from rba.data.jpeg import DamagedJpegError, Jpeg
from rba.data.reduction import reduce_picture

SCHEMA_VERSION = 1
MEMBER_SUFFIXES = frozenset({"jpg", "png", "json", "npy"})
MATCH_STRIDE = 8  # pixels of the stored target between two nodes of the match grid
JPEG_QUALITY = 95
RECORD_MEMBERS = {
    Mode.ALIGNMENT: frozenset({"jpg", "json", "mask.png"}),
    Mode.REFINEMENT: frozenset(
        {
            "target.jpg",
            "reference.jpg",
            "json",
            "target_mask.png",
            "reference_mask.png",
            "matches.npy",
        }
    ),
}


# What decoders raise on bytes that nobody wrote: JSON nested too deep, arrays without an end of
# their header (tokenize) or with one that asks for all memory, pictures of 65,535 x 65,535.
_DECODER_ERRORS = (
    ValueError, TypeError, SyntaxError, RecursionError, OverflowError, MemoryError, EOFError,
    tokenize.TokenError, cv2.error,
)  # fmt: skip
Picture: TypeAlias = np.ndarray | Jpeg
"""HxWx3 uint8 RGB, or the JPEG that holds it; `pixels` gives the pixels of both."""


class RecordError(ValueError):
    """The bytes of one sample do not form a record: a fault of the data, not of settings.

    Args:
        reason: What is wrong, the same words wherever it is the same, so that it can be counted.
        detail: Particulars of this sample.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentRecord:
    """One photo.

    Members: ``jpg``, ``json``, optional ``mask.png``.

    Attributes:
        key: Name within the shard.
        image: The photo.
        mask: HxW bool, the object, or None where unknown.
        metadata: JSON-serialisable facts (source, licence, author ...).
    """

    key: str
    image: Picture
    mask: np.ndarray | None
    metadata: Mapping[str, Any]

    def encode(self, quality: int = JPEG_QUALITY) -> dict[str, bytes]:
        """Return the members as bytes; ``quality`` is the JPEG quality, 1 to 100."""
        members = {
            "jpg": encode_jpeg(pixels(self.image), quality),
            "json": encode_json(self.metadata),
        }
        if self.mask is not None:
            members["mask.png"] = encode_mask(self.mask)
        return members

    @classmethod
    def decode(
        cls, key: str, members: Mapping[str, bytes], *, lazily: bool = False
    ) -> "AlignmentRecord":
        """Rebuild the record from its members; ``lazily`` leaves pictures as `Jpeg`.

        Raises:
            RecordError: If a member is missing, foreign, unreadable or of another size.
        """
        check_members(members)
        image = _decode_jpeg(members, "jpg", lazily)
        mask = _decode_mask(members, "mask.png", image)
        return cls(key=key, image=image, mask=mask, metadata=_decode_json(members))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementRecord:
    """Two views of one object.

    Members: ``target.jpg``, ``reference.jpg``, ``json``, optional ``target_mask.png``,
    ``reference_mask.png`` and ``matches.npy``.

    Attributes:
        key: Name within the shard.
        target: View A.
        reference: View B.
        target_mask: HxW bool, the object, or None.
        reference_mask: hxw bool, the object, or None.
        matches: float16 [ceil(H/8), ceil(W/8), 3] over the target, node (i, j) at pixel
            (x = 8j+4, y = 8i+4): x and y as fractions of the reference's width and height (pixel
            centre = (i+0.5)/W), confidence in [0, 1]; NaN = no match. None where never computed.
        metadata: JSON-serialisable facts (object, views, matcher ...).
    """

    key: str
    target: Picture
    reference: Picture
    target_mask: np.ndarray | None
    reference_mask: np.ndarray | None
    matches: np.ndarray | None
    metadata: Mapping[str, Any]

    def encode(self, quality: int = JPEG_QUALITY) -> dict[str, bytes]:
        """Return the members as bytes; ``quality`` is the JPEG quality, 1 to 100."""
        members = {
            "target.jpg": encode_jpeg(pixels(self.target), quality),
            "reference.jpg": encode_jpeg(pixels(self.reference), quality),
            "json": encode_json(self.metadata),
        }
        if self.target_mask is not None:
            members["target_mask.png"] = encode_mask(self.target_mask)
        if self.reference_mask is not None:
            members["reference_mask.png"] = encode_mask(self.reference_mask)
        if self.matches is not None:
            members["matches.npy"] = encode_array(self.matches.astype(np.float16))
        return members

    @classmethod
    def decode(
        cls, key: str, members: Mapping[str, bytes], *, lazily: bool = False
    ) -> "RefinementRecord":
        """Rebuild the record from its members; ``lazily`` leaves pictures as `Jpeg`.

        Raises:
            RecordError: If a member is missing, foreign, unreadable or of another size.
        """
        check_members(members)
        target = _decode_jpeg(members, "target.jpg", lazily)
        reference = _decode_jpeg(members, "reference.jpg", lazily)
        return cls(
            key=key,
            target=target,
            reference=reference,
            target_mask=_decode_mask(members, "target_mask.png", target),
            reference_mask=_decode_mask(members, "reference_mask.png", reference),
            matches=_decode_matches(members, target),
            metadata=_decode_json(members),
        )


Record: TypeAlias = AlignmentRecord | RefinementRecord


def decode_record(
    kind: Mode, key: str, members: Mapping[str, bytes], *, lazily: bool = False
) -> Record:
    """Decode the record of a shard set's kind.

    Args:
        kind: Of the shard set.
        key: Name within the shard.
        members: Suffix -> bytes.
        lazily: Leave pictures as `Jpeg`, whose damage shows when their pixels are asked for.

    Raises:
        RecordError: If the members do not form such a record.
    """
    record = AlignmentRecord if kind is Mode.ALIGNMENT else RefinementRecord
    try:
        return record.decode(key, members, lazily=lazily)
    except RecordError:
        raise
    except _DECODER_ERRORS as error:
        raise _undecodable(error) from error


def _undecodable(error: Exception) -> RecordError:
    return RecordError("a member cannot be decoded", f"{type(error).__name__}: {error}")


def pixels(picture: Picture, reduction: int = 1) -> np.ndarray:
    """Return a picture's pixels, HxWx3 uint8 RGB, at 1/reduction of its size (1, 2, 4 or 8).

    Raises:
        RecordError: If it is a JPEG that is damaged.
    """
    if isinstance(picture, np.ndarray):
        return reduce_picture(picture, reduction)
    try:
        return picture.pixels(reduction)
    except DamagedJpegError as error:
        raise RecordError(error.reason, error.detail) from error
    except _DECODER_ERRORS as error:
        raise _undecodable(error) from error


def match_grid_shape(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the match grid over a height x width target."""
    return -(-height // MATCH_STRIDE), -(-width // MATCH_STRIDE)


def check_members(members: Mapping[str, bytes]) -> None:
    """Refuse members of foreign types; pickles above all, which run code when read.

    Raises:
        RecordError: Naming the member.
    """
    for name in members:
        if name.rsplit(".", 1)[-1].lower() not in MEMBER_SUFFIXES:
            allowed = " ".join(sorted(MEMBER_SUFFIXES))
            raise RecordError(f"member {name!r} is refused: only {allowed} are read, never pickles")


def encode_json(metadata: Mapping[str, Any]) -> bytes:
    """Return facts as UTF-8 JSON with sorted keys and the schema's version."""
    facts = {**metadata, "schema": SCHEMA_VERSION}
    return json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()


def _member(members: Mapping[str, bytes], name: str) -> bytes:
    if name not in members:
        raise RecordError(f"member {name!r} is missing", f"there are {sorted(members)}")
    return members[name]


def _decode_jpeg(members: Mapping[str, bytes], name: str, lazily: bool) -> Picture:
    try:
        picture = Jpeg(_member(members, name), f"member {name!r}")
        return picture if lazily else picture.pixels()
    except DamagedJpegError as error:
        raise RecordError(error.reason, error.detail) from error


def _decode_mask(members: Mapping[str, bytes], name: str, image: Picture) -> np.ndarray | None:
    if name not in members:
        return None
    data = members[name]
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if mask is None:
        raise RecordError(f"member {name!r} is not a readable PNG", f"{len(data)} bytes")
    if mask.shape != image.shape[:2]:
        raise RecordError(
            f"member {name!r} is not as large as its image", f"{mask.shape}, {image.shape[:2]}"
        )
    return mask >= 128


def _decode_json(members: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        facts = json.loads(_member(members, "json"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError("member 'json' cannot be read", str(error)) from error
    if not isinstance(facts, dict):
        raise RecordError("member 'json' is not an object")
    schema = facts.pop("schema", SCHEMA_VERSION)
    if schema != SCHEMA_VERSION:
        raise RecordError(f"schema {schema} of the record is not {SCHEMA_VERSION}, ours")
    return facts


def _decode_matches(members: Mapping[str, bytes], target: Picture) -> np.ndarray | None:
    if "matches.npy" not in members:
        return None
    try:
        matches = np.load(io.BytesIO(members["matches.npy"]), allow_pickle=False)
    except _DECODER_ERRORS as error:
        raise RecordError("member 'matches.npy' cannot be read", str(error)) from error
    expected = (*match_grid_shape(*target.shape[:2]), 3)
    if matches.shape != expected or matches.dtype != np.float16:
        raise RecordError(
            "member 'matches.npy' is of another shape or type",
            f"{matches.dtype} {matches.shape}, expected float16 {expected}",
        )
    return matches
