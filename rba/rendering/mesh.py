"""Triangle meshes with textured surfaces, joined from flat and bent patches.

Every surface is laid out as it is seen from outside: u to the right, v downwards, both in [0, 1].
Triangles that face the viewer therefore turn clockwise on the screen (y down).
"""

import dataclasses

import numpy as np

# Segments of round things.
SEGMENTS = 48

# Vertices [V, 3], normals [V, 3], uvs [V, 2], triangles [T, 3], width over height.
Patch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A triangle mesh with textured surfaces; the farthest vertex lies at distance 1.

    Attributes:
        kind: Name of the shape.
        vertices: [V, 3] float64, x right, y down, z away from the viewer.
        normals: [V, 3] float64, outward, unit length.
        uvs: [V, 2] float64 in [0, 1].
        triangles: [T, 3] indices.
        surfaces: [T] number of the surface that a triangle belongs to.
        aspects: For each surface its width over its height.
        two_sided: True for thin things, whose surfaces are seen from behind as well.
    """

    kind: str
    vertices: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    triangles: np.ndarray
    surfaces: np.ndarray
    aspects: tuple[float, ...]
    two_sided: bool = False


def rectangle(centre: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Corner points [2, 2, 3] of a rectangle as seen from outside."""
    return np.array(
        [
            [centre - right - down, centre + right - down],
            [centre - right + down, centre + right + down],
        ]
    )


def grid_patch(points: np.ndarray) -> Patch:
    """A surface from points [rows, columns, 3] as seen from outside, smooth normals."""
    rows, columns = points.shape[:2]
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    along, across = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normals = unit(np.cross(across, along))
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    width = np.linalg.norm(along, axis=-1).mean() * (columns - 1)
    height = np.linalg.norm(across, axis=-1).mean() * (rows - 1)
    flat = points.reshape(-1, 3), normals.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2)
    return (*flat, triangles.reshape(-1, 3), float(width / height))


def disc_patch(
    centre: np.ndarray, right: np.ndarray, down: np.ndarray, segments: int = SEGMENTS
) -> Patch:
    """A disc with the half axes ``right`` and ``down`` as seen from outside."""
    angles = np.arange(segments) * (2 * np.pi / segments) + np.pi
    return fan_patch(centre, right, down, np.stack([np.sin(angles), -np.cos(angles)], axis=1))


def fan_patch(
    centre: np.ndarray, right: np.ndarray, down: np.ndarray, outline: np.ndarray
) -> Patch:
    """A flat convex cap.

    Args:
        centre: [3].
        right: [3] half axis to the right as seen from outside.
        down: [3] half axis downwards, as long as ``right``.
        outline: [N, 2] corners clockwise from outside, in units of the half axes, within [-1, 1].
    """
    count = len(outline)
    offsets = np.concatenate([[[0.0, 0.0]], outline])
    points = centre + offsets[:, :1] * right + offsets[:, 1:] * down
    normals = np.broadcast_to(unit(np.cross(down, right)), points.shape)
    first = 1 + np.arange(count)
    second = 1 + (np.arange(count) + 1) % count
    triangles = np.stack([np.zeros_like(first), first, second], axis=1)
    return points, normals, 0.5 + 0.5 * offsets, triangles, 1.0


def join(kind: str, patches: list[Patch], *, two_sided: bool = False) -> Mesh:
    """Join surfaces to a mesh around the origin whose farthest vertex lies at distance 1."""
    starts = np.cumsum([0] + [len(patch[0]) for patch in patches[:-1]])
    vertices = np.concatenate([patch[0] for patch in patches])
    vertices = vertices - (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    triangles = [patch[3] + start for patch, start in zip(patches, starts, strict=True)]
    return Mesh(
        kind=kind,
        vertices=vertices / np.linalg.norm(vertices, axis=1).max(),
        normals=np.concatenate([patch[1] for patch in patches]),
        uvs=np.concatenate([patch[2] for patch in patches]),
        triangles=np.concatenate(triangles),
        surfaces=np.repeat(np.arange(len(patches)), [len(t) for t in triangles]),
        aspects=tuple(patch[4] for patch in patches),
        two_sided=two_sided,
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [..., 3] to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
