import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.data.build import DroppedError
from rba.data.objects import ObjectViews, PairChoice, PairList, View, ViewPair
from rba.errors import InputError


def views(count, directions=None, name="cup"):
    paths = [View(f"{name}/{number:02d}.jpg") for number in range(count)]
    return ObjectViews(name, paths, directions)


def steps(pairs):
    return [pair.facts["view_distance"] for pair in pairs]


def test_all_ordered_pairs_of_few_views():
    pairs = PairChoice(max_pairs=100).pairs(views(5))
    assert len({pair.name for pair in pairs}) == 20
    assert all(pair.target != pair.reference for pair in pairs)


@given(st.integers(2, 30), st.integers(1, 20), st.integers(0, 5))
def test_choices_are_distinct_bounded_and_told_by_the_seed(count, most, seed):
    choice = PairChoice(max_pairs=most, seed=seed)
    pairs = choice.pairs(views(count))
    assert len({pair.name for pair in pairs}) == len(pairs) == min(most, count * (count - 1))
    assert pairs == choice.pairs(views(count))


def test_another_seed_and_another_object_choose_others():
    chosen = {
        tuple(
            pair.name[4:] for pair in PairChoice(max_pairs=6, seed=seed).pairs(views(9, name=name))
        )
        for seed, name in ((0, "cup"), (1, "cup"), (0, "jar"))
    }
    assert len(chosen) == 3


def test_view_distance_counts_steps():
    pairs = PairChoice(max_pairs=1000, view_distance=(2, 4)).pairs(views(10))
    assert set(steps(pairs)) == {2, 3, 4}
    assert len(pairs) == 2 * (8 + 7 + 6)
    assert max(steps(PairChoice(max_pairs=1000, view_distance=(3, 0)).pairs(views(10)))) == 9


def test_view_angle_holds_only_where_both_cameras_are_known():
    directions = [(1, 0, 0), (0.8, 0.6, 0), (0, 1, 0), None]  # 0, 37, 90 degrees
    found = PairChoice(max_pairs=100, view_angle=(30, 60)).pairs(views(4, directions))
    names = {pair.name: pair.facts.get("view_angle") for pair in found}
    assert names["cup/00-01"] == names["cup/01-00"] == 36.9
    assert names["cup/01-02"] == 53.1
    assert "cup/00-02" not in names
    assert names["cup/00-03"] is None


@pytest.mark.parametrize(
    ("count", "settings", "words"),
    [
        (1, {}, "fewer than two views"),
        (3, {"view_distance": (3, 9)}, "no two views within view_distance"),
    ],
)
def test_objects_without_a_pair(count, settings, words):
    with pytest.raises(DroppedError, match=words):
        PairChoice(**settings).pairs(views(count))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_pairs": 0}, "max_pairs=0"),
        ({"view_distance": (0, 3)}, "view_distance"),
        ({"view_distance": (4, 3)}, "view_distance"),
        ({"view_distance": (4,)}, "two numbers"),
        ({"view_angle": (50, 20)}, "view_angle"),
        ({"view_angle": (-1, 20)}, "view_angle"),
        ({"view_angle": (0, 181)}, "view_angle"),
    ],
)
def test_ranges_that_are_none(settings, words):
    with pytest.raises(InputError, match=words):
        PairChoice(**settings)


def test_thousands_of_frames_are_no_millions_of_pairs():
    assert len(PairChoice(max_pairs=12).pairs(views(3000))) == 12


def test_a_list_gives_back_what_was_added():
    pairs = [
        ViewPair(
            "ü/cup", View("a\udcff.jpg", "m.png", scaled_mask=True), View("b.jpg"), None, {"n": 1}
        ),
        ViewPair("x", View("a.jpg"), View("b.jpg"), "c.png", {"licence": "ä"}),
    ]
    found = PairList("root", "pairs")
    for pair in pairs:
        found.append(pair)
    assert [pair for _, pair in found] == pairs
    assert found[-1] == (pairs[1].name, pairs[1])
    assert found[0:2] == [(pair.name, pair) for pair in pairs]
    with pytest.raises(IndexError):
        found[2]
