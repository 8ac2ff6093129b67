"""Two thousand damaged, odd and lying inputs: refused with one sentence, or the promise holds."""

import io
import os
import signal
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from rba.errors import InputError
from rba.inference.jobs import Job
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import MAX_FEATHER, RefinementRequest
from rba.inference.sampler import SamplerSettings

INPUTS = int(os.environ.get("RBA_FUZZ_INPUTS", "2000"))
CHUNKS = 20
SECONDS = 60  # a longer one hangs

Draw = np.random.Generator


def picture(rng: Draw, largest: int = 160) -> Image.Image:
    """Any size, shape and mode."""
    kind = rng.integers(6)
    width, height = (int(side) for side in rng.integers(1, largest, 2))
    if kind == 0:
        width, height = [(1, 1), (1, 900), (1200, 1), (2, 700), (900, 30)][rng.integers(5)]
    small = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    mode = ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16", "F", "YCbCr"][rng.integers(10)]
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width)).astype(np.uint8)))
        return image
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert("L").convert("F") if mode == "F" else image.convert(mode)


def mask(rng: Draw, width: int, height: int) -> Image.Image:
    """Nothing, one pixel, the border, all, stripes, noise, another size; 0/255, 0/1 or grey."""
    marked = np.zeros((height, width), bool)
    kind = rng.integers(14)
    if kind == 1:
        marked[rng.integers(height), rng.integers(width)] = True
    elif kind == 2:
        marked[0], marked[-1], marked[:, 0], marked[:, -1] = True, True, True, True
    elif kind == 3:
        marked[:] = True
    elif kind == 4:
        marked[:: max(height // 5, 1)] = True
    elif kind == 5:
        marked = rng.random((height, width)) < 0.03
    elif kind > 5:
        top, left = rng.integers(height), rng.integers(width)
        marked[top : top + 1 + height // 4, left : left + 1 + width // 4] = True
    level = (255, 255, 255, 255, 255, 1, 200, 200, 255, 90)[rng.integers(10)]
    image = Image.fromarray(marked.astype(np.uint8) * level)
    return image.resize((width + 1, height)) if rng.random() < 0.05 else image


def encoded(rng: Draw, image: Image.Image) -> bytes:
    file = io.BytesIO()
    kinds = ["PNG", "PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]
    kind = kinds[rng.integers(len(kinds))]
    try:
        if kind == "GIF":
            frames = [image.convert("RGB").quantize(16) for _ in range(2)]
            frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        else:
            extra: dict[str, Any] = {}
            if kind in ("JPEG", "WEBP", "PNG") and rng.random() < 0.1:
                exif = Image.Exif()
                exif[0x0112] = int(rng.integers(0, 10))  # orientation, also ones that do not exist
                extra = {"exif": exif}
            if rng.random() < 0.1:
                extra["icc_profile"] = rng.bytes(int(rng.integers(1, 400)))
            image.save(file, kind, **extra)
    except (OSError, ValueError, KeyError):  # this format does not hold this mode
        file = io.BytesIO()
        image.convert("RGB").save(file, "PNG")
    return file.getvalue()


def damaged(rng: Draw, data: bytes) -> bytes:
    """Mostly whole; else cut, flipped, empty, text, or a PNG that claims to be a bomb."""
    kind = rng.integers(40)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 20)):
            changed[place] = rng.integers(256)
        return bytes(changed)
    if kind == 2:
        return [b"", b"GIF89a", b"<svg/>", b"%PDF-1.7", rng.bytes(300)][rng.integers(5)]
    if kind == 3 and data.startswith(b"\x89PNG"):
        side = [0, 1, 20_000, 2**31 - 1][rng.integers(4)]
        return data[:16] + struct.pack(">II", side, side) + data[24:]
    if kind == 4:
        start = rng.integers(len(data))
        return data[:start] + rng.bytes(int(rng.integers(1, 50))) + data[start:]
    return data


@pytest.fixture(scope="module")
def pipeline(model_folder: Path) -> RefineByAlignPipeline:
    return RefineByAlignPipeline.open(os.environ.get("RBA_FUZZ_MODEL", str(model_folder)))


@pytest.fixture
def alarm() -> Iterator[Callable[[int], None]]:
    """A hang is a failure that says which input hung."""

    def set_for(number: int) -> None:
        def hung(*_: object) -> None:
            raise TimeoutError(f"input {number} took more than {SECONDS} s")

        signal.signal(signal.SIGALRM, hung)
        signal.alarm(SECONDS)

    yield set_for
    signal.alarm(0)


def write_inputs(number: int, folder: Path) -> Job:
    rng = np.random.default_rng([7, number])
    image = picture(rng)
    files = {"image": image, "mask": mask(rng, *image.size), "reference": picture(rng)}
    if rng.random() < 0.2:
        files["reference_mask"] = mask(rng, *files["reference"].size)
    paths: dict[str, Path] = {}
    for name, shown in files.items():
        suffix = [".png", ".png", ".jpg", ".webp", ".gif", ""][rng.integers(6)]  # may lie
        paths[name] = folder / (name + suffix)
        paths[name].write_bytes(damaged(rng, encoded(rng, shown)))
    return Job(
        id=str(number),
        image=paths["image"],
        mask=paths["mask"],
        references=(paths["reference"],),
        reference_masks=(paths.get("reference_mask"),),
    )


def check(pipeline: RefineByAlignPipeline, job: Job) -> bool:
    """Return whether it was refined; it may be refused in one short line, nothing else."""
    settings = pipeline.settings(sampler=SamplerSettings(num_inference_steps=2))
    try:
        case = job.read()
        result = pipeline.refine(RefinementRequest(case=case), settings)[0]
    except InputError as error:
        if not 0 < len(str(error)) < 600:
            raise ValueError("its refusal is no plain sentence") from error
        return False
    assert result.image.shape == case.image.shape
    assert result.image.dtype == np.uint8
    untouched = result.feather_mask() == 0
    assert (result.image[untouched] == case.image[untouched]).all()
    # The feathering reaches so far beyond the mask, in pixels of the crop, and no further.
    box = result.crop_box
    reach = MAX_FEATHER * max(box.width / result.refined_crop.shape[0], 1.0)
    far = np.asarray(ImageOps.invert(Image.fromarray(case.artifact_mask.astype(np.uint8) * 255)))
    if not untouched.all():
        assert _distance(far)[~untouched].max() <= reach + 1
    region = result.correspondence_mask
    assert region is not None
    assert region.shape == case.references[0].shape[:2]
    assert region.any()
    return True


def _distance(outside: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the mask in pixels."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(outside > 0)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_damaged_odd_and_lying_inputs(
    pipeline: RefineByAlignPipeline, tmp_path: Path, alarm: Callable[[int], None], chunk: int
) -> None:
    refined = 0
    numbers = range(chunk, INPUTS, CHUNKS)
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        job = write_inputs(number, folder)
        alarm(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about damaged metadata
            try:
                refined += check(pipeline, job)
            except Exception as error:
                raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
    assert 0.2 < refined / len(numbers) < 0.95  # neither all refused nor nothing to refuse
