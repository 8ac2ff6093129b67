"""Near duplicates: the fast search against all pairs, the hash against what copies look like."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.data.build.built import Fingerprint, perceptual_hash
from rba.data.build.duplicates import EXACT, NEAR, DuplicateIndex


@given(
    st.integers(0, 16),
    st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 63), max_size=18)), max_size=25),
)
def test_the_search_finds_what_comparing_all_pairs_finds(distance, drawn):
    bases = [int(b) for b in np.random.default_rng(5).integers(0, 2**63, 3)]
    values = [bases[base] ^ sum(1 << bit for bit in bits) for base, bits in drawn]
    index = DuplicateIndex(distance)
    for place, value in enumerate(values):
        near = any((value ^ other).bit_count() <= distance for other in values[:place])
        assert index.add(Fingerprint(f"{place:032x}", value)) == (NEAR if near else None)


def test_equal_files_are_exact_duplicates_and_off_is_off():
    index, off = DuplicateIndex(0), DuplicateIndex(-1)
    one, other = Fingerprint("0" * 32, 7), Fingerprint("1" * 32, 7)
    assert [index.add(one), index.add(one), index.add(other)] == [None, EXACT, NEAR]
    assert [off.add(one), off.add(one)] == [None, None]


def distance(a, b):
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_other_pictures_far(made, seed):
    grey = cv2.cvtColor(made.picture(seed, 300, 400), cv2.COLOR_RGB2GRAY)
    squeezed = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)
    half = cv2.resize(grey, (200, 150), interpolation=cv2.INTER_AREA)
    brighter = np.clip(grey * 0.9 + 20, 0, 255).astype(np.uint8)
    assert max(distance(grey, copy) for copy in (squeezed, half, brighter)) <= 6
    other = cv2.cvtColor(made.picture(seed + 50, 300, 400), cv2.COLOR_RGB2GRAY)
    assert min(distance(grey, far) for far in (other, grey[:, ::-1], grey[::-1])) > 12
