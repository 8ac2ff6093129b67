"""Pictures that can be matched, and pairs of them whose truth is known."""

import cv2
import numpy as np
import pytest

from rba.geometry import project
from rba.matching.exact import node_positions

HOMOGRAPHY = np.array([[0.9, 0.2, 10.0], [-0.15, 0.95, 40.0], [2e-4, -1e-4, 1.0]])


def textured(height, width, seed):
    """A picture with corners and blobs at several scales."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.uint8)
    for _ in range(220):
        corner = rng.integers(-10, (width, height))
        size = rng.integers(4, 30, 2)
        color = tuple(int(c) for c in rng.integers(0, 255, 3))
        cv2.rectangle(picture, corner.tolist(), (corner + size).tolist(), color, -1)
    return cv2.GaussianBlur(picture, (3, 3), 0)


def warped(picture, homography, height, width):
    """Warp a picture by a homography of points whose pixel centres are at + 0.5."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    return cv2.warpPerspective(picture, np.linalg.inv(shift) @ homography @ shift, (width, height))


def true_nodes(homography, height, width):
    """Where the nodes of a height x width target lie on the reference, in pixels."""
    x, y = np.meshgrid(node_positions(width), node_positions(height))
    return project(np.stack([x, y], axis=2), homography)


@pytest.fixture
def made():
    """What tests make their pairs with."""

    class Made:
        homography = HOMOGRAPHY
        textured = staticmethod(textured)
        warped = staticmethod(warped)
        true_nodes = staticmethod(true_nodes)

        @staticmethod
        def pair(seed):
            target = textured(256, 300, seed)
            return target, warped(target, HOMOGRAPHY, 270, 310)

    return Made
