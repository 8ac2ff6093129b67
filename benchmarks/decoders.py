"""Which JPEG decoder is the fastest, whole and at reduced scales, and how good the reduced are.

python benchmarks/decoders.py [--count 16] [--rounds 5]

Milliseconds of the processor's time a photo, medians over rounds in which the decoders take turns;
after them the PSNR of simplejpeg's reduced photos to whole ones averaged over area, and the time of
object masks by the bits of their PNGs.
"""

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import simplejpeg
from loader_shards import Pictures
from PIL import Image

from rba.batch import Mode
from rba.data.encoding import encode_jpeg
from rba.data.reduction import reduce_picture
from rba.data.sample import pixels

SIDES = (512, 1024)
QUALITY = 95
REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def with_pillow(data: bytes, reduction: int) -> np.ndarray:
    """Decode with Pillow."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (picture.width // reduction, picture.height // reduction))
        return np.asarray(picture.convert("RGB"))


def with_opencv(data: bytes, reduction: int) -> np.ndarray:
    """Decode with OpenCV, to RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[reduction])
    assert image is not None
    return image if reduction == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def with_simplejpeg(data: bytes, reduction: int) -> np.ndarray:
    """Decode with simplejpeg as `rba.data.jpeg` does."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(
        data,
        "RGB",
        min_height=-(-int(height) // reduction),
        min_width=-(-int(width) // reduction),
        min_factor=reduction,
    )


DECODERS = {"pillow": with_pillow, "opencv": with_opencv, "simplejpeg": with_simplejpeg}


def milliseconds(
    calls: dict[Any, Callable[[bytes], Any]], files: Sequence[bytes], rounds: int
) -> dict[Any, float]:
    """Return the median time a file of each call, taking turns."""
    found: dict[Any, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            for data in files:
                call(data)
            found[name].append((time.process_time() - started) / len(files) * 1e3)
    return {name: float(np.median(times)) for name, times in found.items()}


def report_photos(side: int, count: int, rounds: int) -> None:
    """Print a table of decoders by reduction for photos of one size."""
    pictures = Pictures(side)
    photos = [pixels(pictures.record(Mode.ALIGNMENT, n).image) for n in range(count)]
    files = [encode_jpeg(photo, QUALITY) for photo in photos]
    calls = {
        (name, reduction): lambda data, decode=decode, reduction=reduction: decode(data, reduction)
        for name, decode in DECODERS.items()
        for reduction in REDUCED
    }
    times = milliseconds(calls, files, rounds)
    print(f"\n{side} pixels, {np.mean([len(data) for data in files]) / 1e3:.0f} kB, ms a photo")
    print(f"{'':<12}" + "".join(f"{f'1/{reduction}':>8}" for reduction in REDUCED) + "   equal")
    for name, decode in DECODERS.items():
        same = [np.array_equal(decode(data, 1), with_simplejpeg(data, 1)) for data in files]
        row = "".join(f"{times[name, reduction]:>8.2f}" for reduction in REDUCED)
        print(f"{name:<12}{row}{np.mean(same):>8.0%}")
    quality = []
    for reduction in list(REDUCED)[1:]:
        errors = [
            with_simplejpeg(data, reduction).astype(float)
            - reduce_picture(with_simplejpeg(data, 1), reduction)
            for data in files
        ]
        quality.append(np.mean([10 * np.log10(255**2 / np.mean(error**2)) for error in errors]))
    print(f"{'PSNR, dB':<20}" + "".join(f"{value:>8.1f}" for value in quality))


def report_masks(count: int, rounds: int) -> None:
    """Print the time of masks at 512 pixels."""
    pictures = Pictures(512)
    masks = [
        pictures.record(Mode.REFINEMENT, number).target_mask.astype(np.uint8) * 255
        for number in range(count)
    ]
    for bits, options in ((8, []), (1, [cv2.IMWRITE_PNG_BILEVEL, 1])):
        files = [cv2.imencode(".png", mask, options)[1].tobytes() for mask in masks]
        decode = {"": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), 0)}
        took = milliseconds(decode, files, rounds)[""]
        print(f"mask of {bits} bits: {took:.2f} ms, {np.mean([len(f) for f in files]):.0f} bytes")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="JPEG decoders side by side")
    parser.add_argument("--count", type=int, default=16, help="photos of each size")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    for side in SIDES:
        report_photos(side, arguments.count, arguments.rounds)
    report_masks(arguments.count, arguments.rounds)


if __name__ == "__main__":
    main()
