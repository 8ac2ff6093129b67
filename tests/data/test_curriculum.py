import numpy as np
import pytest

from rba.data.alignment import AlignmentSettings
from rba.data.curriculum import Curriculum, CurriculumExamples
from rba.data.refinement import RefinementSettings
from rba.data.transforms import ColorSettings
from rba.data.warp import WarpSettings, random_warp
from rba.errors import InputError

WARP = WarpSettings(rotation=40.0, scale=(0.5, 2.0), perspective=0.1, translation=0.2)


def levels(curriculum, draws):
    return [curriculum.level(draw) for draw in draws]


def test_difficulty_grows_linearly_and_stays() -> None:
    curriculum = Curriculum(samples=1000, difficulty=0.2)
    shares = [curriculum.difficulty_at(level) for level in levels(curriculum, range(0, 2000, 10))]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.2)
    assert shares[50] == pytest.approx(0.6, abs=0.05)
    assert shares[99] < 1.0
    assert set(shares[100:]) == {1.0}


def test_without_a_curriculum_every_draw_is_at_full_difficulty() -> None:
    curriculum = Curriculum()
    assert set(levels(curriculum, (0, 1, 10**9))) == {curriculum.full_level}
    assert curriculum.difficulty_at(curriculum.full_level) == 1.0
    assert curriculum.area_factor_at(curriculum.full_level) == 1.0


def test_holes_shrink_geometrically_to_their_configured_area() -> None:
    curriculum = Curriculum(samples=100, area_factor=16.0)
    factors = [curriculum.area_factor_at(curriculum.level(draw)) for draw in (0, 50, 100)]
    assert factors == pytest.approx([16.0, 4.0, 1.0])


@pytest.mark.parametrize("settings", [AlignmentSettings(warp=WARP), RefinementSettings(warp=WARP)])
def test_full_difficulty_changes_no_setting(settings) -> None:
    assert settings.eased(1.0) == settings


def test_difficulty_zero_leaves_the_reference_as_the_target_shows_it() -> None:
    eased = AlignmentSettings(
        warp=WARP, reference_scale=(1.0, 2.0), reference_color=ColorSettings(hue=0.1, contrast=0.3)
    ).eased(0.0)
    assert tuple(eased.reference_scale) == (1.0, 1.0)
    assert eased.reference_color == ColorSettings()
    matrix = random_warp(eased.warp, np.random.default_rng(0), 64)
    assert np.allclose(matrix / matrix[2, 2], np.eye(3), atol=1e-5)


def test_half_difficulty_halves_the_ranges() -> None:
    eased = WARP.eased(0.5)
    assert (eased.rotation, eased.perspective, eased.translation) == (20.0, 0.05, 0.1)
    assert tuple(eased.scale) == pytest.approx((0.5**0.5, 2.0**0.5))


def test_the_draw_alone_decides_which_examples_are_made() -> None:
    made = []

    def maker(difficulty, area_factor):
        made.append((difficulty, area_factor))
        return lambda record, draw, sample_id: (difficulty, record, draw, sample_id)

    curriculum = Curriculum(samples=100, area_factor=4.0)
    examples = CurriculumExamples(curriculum, maker)
    forwards = [examples("record", draw, "id") for draw in range(0, 120, 7)]
    backwards = [examples("record", draw, "id") for draw in reversed(range(0, 120, 7))]
    assert forwards == backwards[::-1]
    assert made[0] == (0.0, 4.0)
    assert forwards[-1][0] == 1.0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"samples": -1}, "samples=-1"),
        ({"difficulty": 1.5}, "difficulty=1.5"),
        ({"area_factor": 0.0}, "area_factor=0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, named) -> None:
    with pytest.raises(InputError, match=named):
        Curriculum(**settings)
