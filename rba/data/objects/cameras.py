"""From which side each camera sees the object, out of COLMAP's files or CO3D's matrices."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_HEAD = struct.Struct("<i7di")  # image, rotation (w, x, y, z), translation, camera
_COUNT = struct.Struct("<Q")
_POINT_BYTES = 24  # x, y and the number of the 3D point
_MOST_NAME = 4096  # bytes


@dataclass(frozen=True)
class Camera:
    """Where a camera is and where it looks, in the world's coordinates.

    Attributes:
        centre: [3].
        axis: [3], unit length, into the scene.
    """

    centre: np.ndarray
    axis: np.ndarray


def read_colmap(data: bytes) -> dict[str, Camera]:
    """Read the cameras of COLMAP's ``images.bin`` by the names of their pictures.

    Raises:
        ValueError: If the bytes are damaged.
    """
    cameras: dict[str, Camera] = {}
    try:
        (count,) = _COUNT.unpack_from(data, 0)
        position = _COUNT.size
        for _ in range(count):
            _, w, x, y, z, *translation, _ = _HEAD.unpack_from(data, position)
            position += _HEAD.size
            end = data.index(b"\0", position, position + _MOST_NAME)
            name = data[position:end].decode("utf-8", "surrogateescape")
            (points,) = _COUNT.unpack_from(data, end + 1)
            position = end + 1 + _COUNT.size + points * _POINT_BYTES
            if position > len(data):
                raise ValueError(f"cut short after {len(data)} bytes")
            rotation = _rotation(w, x, y, z)
            cameras[name] = _camera(-rotation.T @ np.array(translation), rotation[2])
    except struct.error as error:
        raise ValueError(f"cut short after {len(data)} bytes") from error
    return cameras


def pytorch3d_camera(rotation: Sequence[Sequence[float]], translation: Sequence[float]) -> Camera:
    """Return the camera of PyTorch3D's matrices: ``x_camera = x_world @ R + T``, z into the scene.

    Raises:
        ValueError: If they are none.
    """
    matrix, moved = np.array(rotation, np.float64), np.array(translation, np.float64)
    if matrix.shape != (3, 3) or moved.shape != (3,):
        raise ValueError(f"R is {matrix.shape} and T {moved.shape}")
    return _camera(-moved @ matrix.T, matrix[:, 2])


def view_directions(
    cameras: Mapping[str, Camera], names: Sequence[str]
) -> list[list[float] | None]:
    """Return from which side each camera sees the object, as unit vectors; None where unknown.

    The object is where the cameras look at: the point nearest to all their axes. Where they share
    none (all look the same way, or the point lies behind them) the axes alone say the side.

    Args:
        cameras: By name.
        names: Of the views.
    """
    known = [cameras[name] for name in names if name in cameras]
    if not known:
        return [None] * len(names)
    centres = np.stack([camera.centre for camera in known])
    axes = np.stack([camera.axis for camera in known])
    across = np.eye(3) - axes[:, :, None] * axes[:, None]  # what is left of a vector beside an axis
    total = across.sum(axis=0)
    towards = -axes
    if np.linalg.cond(total) < 1e4:
        object_ = np.linalg.solve(total, np.einsum("nij,nj->i", across, centres))
        if (np.einsum("ni,ni->n", object_ - centres, axes) > 0).all():
            towards = centres - object_
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    found = iter(towards.tolist())
    return [next(found) if name in cameras else None for name in names]


def _rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """Return the matrix of a quaternion, from the world to the camera."""
    length = w * w + x * x + y * y + z * z
    if not length > 0:
        raise ValueError("a rotation of length 0")
    w, x, y, z = (value / np.sqrt(length) for value in (w, x, y, z))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _camera(centre: np.ndarray, axis: np.ndarray) -> Camera:
    length = float(np.linalg.norm(axis))
    if not (np.isfinite(centre).all() and length > 0):
        raise ValueError(f"a camera at {centre} that looks along {axis}")
    return Camera(centre, axis / length)
