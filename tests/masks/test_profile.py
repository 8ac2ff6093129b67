import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rba.errors import InputError
from rba.masks.profile import MaskProfile, load_profile


def test_pal_meets_what_the_paper_states() -> None:
    probabilities, areas = np.asarray(load_profile("pal").area_quantiles).T
    # "In more than half of the cases the artifact covers less than 4 % of the image."
    assert np.interp(0.5, probabilities, areas) < 0.04
    assert areas[0] > 0
    assert areas[-1] <= 0.5


def test_drawn_areas_follow_the_quantiles() -> None:
    profile, rng = load_profile("pal"), np.random.default_rng(0)
    drawn = [profile.draw_area(rng) for _ in range(4000)]
    for probability, value in profile.area_quantiles:
        share = np.mean(np.asarray(drawn) <= value)
        assert abs(share - probability) < 0.03


def test_profile_from_yaml_and_json_files(tmp_path: Path) -> None:
    content = {
        "name": "own",
        "area_quantiles": [[0, 0.01], [1, 0.02]],
        "families": {"stroke": 1},
        "border_share": 0,
    }
    (tmp_path / "own.json").write_text(json.dumps(content))
    (tmp_path / "own.yaml").write_text(
        "name: own\narea_quantiles: [[0, 0.01], [1, 0.02]]\n"
        "families: {stroke: 1}\nborder_share: 0\n"
    )
    profile = load_profile(tmp_path / "own.json")
    assert profile == load_profile(str(tmp_path / "own.yaml"))
    assert profile.draw_family(np.random.default_rng(0)) == "stroke"


@given(st.floats(0.01, 100.0))
def test_scaled_multiplies_and_caps(factor: float) -> None:
    profile = load_profile("pal")
    for (p, before), (q, after) in zip(
        profile.area_quantiles, profile.scaled(factor).area_quantiles, strict=True
    ):
        assert p == q
        assert after == min(before * factor, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"area_quantiles": [[0, 0.1], [1, 0.9]]}, "0.5"),
        ({"area_quantiles": [[0, 0.2], [1, 0.1]]}, "rise"),
        ({"area_quantiles": [[0.1, 0.1], [1, 0.2]]}, "probability 0 to 1"),
        ({"area_quantiles": [0.1, 0.2]}, "pairs"),
        ({"area_quantiles": "much"}, "wrong kind"),
        ({"families": {"triangle": 1}}, "triangle"),
        ({"families": {"noise": 0}}, "above 0"),
        ({"roughness": [0.3, 0.1]}, "roughness"),
        ({"border_share": 2}, "border_share"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_profiles_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = {"name": "bad", "area_quantiles": [[0, 0.1], [1, 0.2]], "families": {"noise": 1}}
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=message):
        load_profile(path)


def test_missing_profile_names_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="pal"):
        load_profile("no-such-profile")
    with pytest.raises(InputError, match="area_factor"):
        load_profile("pal").scaled(0)
    with pytest.raises(InputError, match="families"):
        MaskProfile(name="x", area_quantiles=((0, 0.1), (1, 0.2)), families={"disc": 1.0})
