"""Shape families as closed outlines with two knobs each: one for solidity, one for compactness.

Outlines are vectors, so one shape can be rasterised at any size, and a few of them can be tried
until the statistics are right. `Traits` say which shape is meant, the generator's noise the rest.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

FAMILIES = ("noise", "polygon", "blob", "stroke")
NUM_POINTS = 192

_STEPS = NUM_POINTS // 2
_CHUNK = 8  # steps of a stroke that are filled at once: a chunk does not cross itself
_FIELD_SIDE = 32
_TURN = np.exp(2j * np.pi * np.arange(NUM_POINTS) / NUM_POINTS)
_AHEAD = (np.arange(NUM_POINTS) + 2) % NUM_POINTS
_BEHIND = (np.arange(NUM_POINTS) - 2) % NUM_POINTS
_FREQUENCIES = np.arange(NUM_POINTS // 2 + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
    """What a family is asked for.

    Attributes:
        family: One of `FAMILIES`.
        bend: The knob for solidity: share of what departs from an ellipse, or a stroke's turning.
        fray: The knob for compactness: depth of the frayed edge, or how thin a stroke is.
        detail: In [0, 1]: how fine the fraying is, and how many lobes, corners or turns there are.
        softness: In [0, 1]: how round corners, ends and edges are.
    """

    family: str
    bend: float
    fray: float
    detail: float
    softness: float


class Form(Protocol):
    """One shape; its knobs run over `limits`."""

    limits: tuple[tuple[float, float], tuple[float, float]]

    def outline(self, bend: float, fray: float) -> np.ndarray:
        """Return the closed outline, `NUM_POINTS` complex (x + iy), in units of its own."""
        ...

    def pieces(self, points: np.ndarray) -> list[np.ndarray]:
        """Cut an outline's points (in order, any dtype) into polygons that fill it together."""
        ...


def draw_form(traits: Traits, rng: np.random.Generator) -> Form:
    """Draw a shape of a family: what the traits leave open comes from ``rng``."""
    if traits.family == "stroke":
        return _Stroke(traits, rng)
    base = _BASES[traits.family](traits, rng)
    return _Closed(base - base.mean(), traits, rng)


def draw_disc(rng: np.random.Generator, *, even: bool) -> Form:
    """Draw a disc, exact while its knobs are at 0, that can grow waves and fray.

    Args:
        rng: Source of what is drawn.
        even: All four quarters alike, so that it stays as long as it is wide.
    """
    modes = np.array([4, 8]) if even else np.arange(3, 9)
    phases = np.zeros(2) if even else rng.uniform(0.0, 2.0 * np.pi, modes.size)
    sizes = rng.uniform(0.5, 1.0, modes.size)
    waves = (sizes[:, None] * np.cos(modes[:, None] * np.angle(_TURN) + phases[:, None])).sum(
        axis=0
    )
    form = _Closed(_TURN, Traits(family="blob", bend=0, fray=0, detail=0.8, softness=0.5), rng)
    form.lobes = _TURN * (0.1 / waves.std() * waves)
    if even:
        form.fringe = _TURN * np.tile((form.fringe / _TURN).real[: NUM_POINTS // 4], 4)
    return form


def straight_bar() -> Form:
    """Return a straight bar of even width, with ends from flat to round."""
    return _Bar()


class _Closed:
    """An ellipse, lobes on it, and a frayed edge."""

    limits = ((0.0, 1.5), (0.0, 0.15))

    def __init__(self, base: np.ndarray, traits: Traits, rng: np.random.Generator) -> None:
        forward, backward = base @ _TURN.conj() / NUM_POINTS, base @ _TURN / NUM_POINTS
        self.ellipse = forward * _TURN + backward * _TURN.conj()
        self.lobes = base - self.ellipse
        tangent = base[_AHEAD] - base[_BEHIND]
        normal = -1j * tangent / np.maximum(np.abs(tangent), 1e-9)
        size = np.sqrt(max(abs(_area(base)), 1e-9))
        self.fringe = normal * _edge_noise(4.0 * 15.0**traits.detail, rng) * size

    def outline(self, bend: float, fray: float) -> np.ndarray:
        return self.ellipse + bend * self.lobes + fray * self.fringe

    def pieces(self, points: np.ndarray) -> list[np.ndarray]:
        return [points]


class _Stroke:
    """A path of length 1 that turns, with a width that changes along it."""

    limits = ((0.0, 6.0), (0.0, 12.0))

    def __init__(self, traits: Traits, rng: np.random.Generator) -> None:
        turns = np.zeros(_STEPS)
        for _ in range(1 + int(3 * traits.detail)):
            place = rng.uniform(0.1, 0.9)
            reach = (0.01 + traits.softness * rng.uniform(0.05, 0.7)) * _STEPS
            turns += rng.standard_normal() * np.tanh((np.arange(_STEPS) - place * _STEPS) / reach)
        self._turns = turns / max(float(np.ptp(turns)), 1e-6)
        along = np.linspace(0.0, 1.0, _STEPS)
        swell = rng.uniform(0.0, 0.5) * np.sin(rng.uniform(2.0, 9.0) * along + rng.uniform(0, 6.3))
        ends = np.minimum(1.0, (0.02 + along * along[::-1]) / (0.02 + 0.1 * traits.softness))
        profile = (1.0 + swell) * ends
        self._profile = profile / profile.mean()

    def outline(self, bend: float, fray: float) -> np.ndarray:
        direction = np.exp(1j * bend * self._turns)
        path = np.cumsum(direction) / _STEPS
        side = 1j * direction * (0.5 * np.exp(-fray) * self._profile)
        return np.concatenate([path + side, (path - side)[::-1]])

    def pieces(self, points: np.ndarray) -> list[np.ndarray]:
        there, back = points[:_STEPS], points[: _STEPS - 1 : -1]
        return [
            np.concatenate([there[k : k + _CHUNK + 1], back[k : k + _CHUNK + 1][::-1]])
            for k in range(0, _STEPS - 1, _CHUNK)
        ]


class _Bar:
    """A bar of length 1; the first knob rounds its ends, the second makes it thin."""

    limits = ((0.0, 1.0), (0.0, 12.0))

    def outline(self, bend: float, fray: float) -> np.ndarray:
        half = 0.5 * np.exp(-fray)
        cap, flat = bend * half, half * (1.0 - 0.6 * bend)
        end = np.array([1 - cap - 1j * half, 1 - 1j * flat, 1 + 1j * flat, 1 - cap + 1j * half])
        return np.concatenate([end, 1.0 + 0.0j - end]) - 0.5

    def pieces(self, points: np.ndarray) -> list[np.ndarray]:
        return [points]


def _polygon(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """A polygon of 3 to 12 corners, as a hand with a lasso draws it; corners cut when soft."""
    corners = 3 + int(10 * traits.detail**2)
    gaps = rng.uniform(0.25, 1.0, corners)
    angles = np.cumsum(gaps) * (2 * np.pi / gaps.sum())
    radii = 1.0 - max(rng.uniform(-0.5, 0.6), 0.0) * rng.random(corners)
    points = _resampled(radii * np.exp(1j * angles))
    return _smoothed(points, 1 + int(0.15 * NUM_POINTS * max(traits.softness - 0.4, 0.0)))


def _blob(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """A round form whose radius swings a few times around."""
    modes = np.arange(2, 4 + int(5 * traits.detail))
    sizes = rng.standard_normal(modes.size) * modes ** (-0.5 - traits.softness)
    phases = rng.uniform(0, 2 * np.pi, modes.size)
    angles = np.angle(_TURN)
    swing = (sizes[:, None] * np.cos(modes[:, None] * angles + phases[:, None])).sum(axis=0)
    swing *= 0.45 / max(float(np.abs(swing).max()), 1e-6)
    return np.exp(swing) * _TURN


def _noise(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """The largest island of smooth noise above a level that rises outwards."""
    cells = 4 + int(4 * traits.detail)
    field = np.zeros((_FIELD_SIDE, _FIELD_SIDE), np.float32)
    for grid, weight in ((cells, 1.0), (2 * cells, 0.7 * (1.0 - traits.softness))):
        noise = rng.standard_normal((grid, grid)).astype(np.float32)
        field += weight * cv2.resize(noise, field.shape, interpolation=cv2.INTER_CUBIC)
    island = (field > _BOWL).view(np.uint8)
    if not island.any():
        island[np.unravel_index(int((field - _BOWL).argmax()), field.shape)] = 1
    contours, _ = cv2.findContours(island, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    contour = max(contours, key=cv2.contourArea)[:, 0].astype(np.float64)
    if len(contour) < 4:
        return _blob(traits, rng)
    points = _resampled(contour[:, 0] + 1j * contour[:, 1])
    return _smoothed(points, 3 + int(8 * traits.softness))


_BASES: dict[str, Callable[[Traits, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "polygon": _polygon,
    "blob": _blob,
}
_AXIS = np.linspace(-1.0, 1.0, _FIELD_SIDE, dtype=np.float32)
_BOWL = 2.2 * (_AXIS[:, None] ** 2 + _AXIS[None, :] ** 2) - 0.9


def _area(points: np.ndarray) -> float:
    inner = float(np.vdot(points[:-1], points[1:]).imag)
    return 0.5 * (inner + float((points[-1].conjugate() * points[0]).imag))


def _resampled(corners: np.ndarray) -> np.ndarray:
    """Place `NUM_POINTS` points evenly along a closed outline, counter-clockwise."""
    if _area(corners) < 0:
        corners = corners[::-1]
    closed = np.append(corners, corners[0])
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(closed)))])
    places = np.arange(NUM_POINTS) * (along[-1] / NUM_POINTS)
    return np.interp(places, along, np.real(closed)) + 1j * np.interp(
        places, along, np.imag(closed)
    )


def _smoothed(points: np.ndarray, window: int) -> np.ndarray:
    """Average over ``window`` neighbours along a closed outline."""
    if window <= 1:
        return points
    around = np.concatenate([points[-window:], points]).cumsum()
    return (around[window:] - around[:-window]) / window


def _edge_noise(cycles: float, rng: np.random.Generator) -> np.ndarray:
    """Periodic noise of mean square 1: swings of ``cycles`` around and slower, bursts of finer."""
    ratio = _FREQUENCIES / cycles
    band = ratio / (1.0 + ratio**2.5)
    band[:3] = 0.0
    parts = rng.standard_normal((2, band.size))
    noise = np.fft.irfft(band * (parts[0] + 1j * parts[1]), NUM_POINTS)
    noise *= 1.0 + 0.6 * (_TURN * np.exp(1j * rng.uniform(0.0, 6.3))).real
    return noise / max(float(noise.std()), 1e-9)
