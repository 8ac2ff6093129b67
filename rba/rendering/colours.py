"""Strong colours of prints and mosaics."""

import colorsys

import numpy as np

Colour = tuple[int, int, int]


def strong_colours(rng: np.random.Generator, count: int) -> list[Colour]:
    """Draw saturated colours, neighbours in the list clearly different in hue and brightness."""
    start, light_first = rng.random(), rng.random() < 0.5
    colours: list[Colour] = []
    for index in range(count):
        hue = start + index * (0.37 + 0.12 * rng.random())
        light = (index % 2 == 0) == light_first
        if rng.random() < 0.2:
            colours.append((245, 245, 240) if light else (18, 18, 24))
            continue
        value = rng.uniform(0.85, 1.0) if light else rng.uniform(0.3, 0.6)
        saturation = rng.uniform(0.35, 0.75) if light else rng.uniform(0.8, 1.0)
        red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours
