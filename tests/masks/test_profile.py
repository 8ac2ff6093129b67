import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rba.errors import InputError
from rba.masks.groups import MaskProfile
from rba.masks.profile import load_profile, save_profile
from rba.masks.statistics import STATISTICS

QUANTILES = {
    "area_ratio": [[0, 0.01], [1, 0.02]],
    "num_components": [[0, 1], [1, 1]],
    "largest_share": [[0, 1], [1, 1]],
    "spread": [[0, 1.2], [1, 2]],
    "compactness": [[0, 0.2], [1, 0.8]],
    "solidity": [[0, 0.5], [1, 1]],
    "elongation": [[0, 0.3], [1, 1]],
    "roughness": [[0, 0.05], [1, 0.2]],
    "border_distance": [[0, 0], [1, 0.4]],
}
OWN = {"name": "own", "version": 2, "groups": [{"weight": 1, "quantiles": QUANTILES}]}


PAL = load_profile("pal")


def drawn(profile: MaskProfile, count: int, name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([getattr(profile.draw(rng)[1], name) for _ in range(count)])


def test_pal_meets_what_the_paper_states_and_what_we_say() -> None:
    areas = drawn(PAL, 4000, "area_ratio")
    # "Covering less than 4 % of the entire image in more than 50 % of cases."
    assert np.mean(areas < 0.04) == pytest.approx(0.65, abs=0.03)
    assert np.median(areas) == pytest.approx(0.024, rel=0.1)
    assert areas.min() > 0
    assert areas.max() <= 0.35


def test_pal_says_which_numbers_are_the_papers() -> None:
    import rba.masks

    text = (Path(rba.masks.__file__).parent / "profiles" / "pal.yaml").read_text()
    assert "STATED BY THE PAPER" in text
    assert "1,405" in text
    assert "OURS" in text
    assert len(text) < 64_000


@pytest.mark.parametrize("name", STATISTICS)
def test_drawn_statistics_follow_the_quantiles(name: str) -> None:
    only = MaskProfile(name="one", groups=PAL.groups[:1])
    found = drawn(only, 3000, name)
    for probability, value in only.groups[0].quantiles[name]:
        below, up_to = np.mean(found < value - 1e-9), np.mean(found <= value + 1e-9)
        slack = 0.1 if name == "num_components" else 0.03  # drawn between the pairs, then rounded
        assert below - slack <= probability <= up_to + slack


def test_correlations_are_drawn() -> None:
    group = PAL.groups[0]
    rng = np.random.default_rng(0)
    found = [group.draw(rng) for _ in range(2000)]
    pairs = np.array([[s.compactness, s.solidity, s.roughness] for s in found])
    matrix = np.corrcoef(pairs.T)
    assert matrix[0, 1] > 0.8
    assert matrix[0, 2] < -0.7


def test_profile_from_yaml_and_json_files(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(OWN))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    assert load_profile(tmp_path / "own.json") == load_profile(str(tmp_path / "own.yaml"))


def test_a_written_profile_is_read_as_it_was(tmp_path: Path) -> None:
    odd = MaskProfile(name='5: "odd" é #', groups=PAL.groups)
    save_profile(odd, tmp_path / "p.yaml", "one line\nanother")
    assert load_profile(tmp_path / "p.yaml") == odd
    assert (tmp_path / "p.yaml").read_text().startswith("# one line\n# another\n")


@given(st.floats(0.01, 100.0))
def test_scaled_multiplies_and_caps(factor: float) -> None:
    scaled = PAL.scaled(factor)
    assert [g.weight for g in scaled.groups] == [g.weight for g in PAL.groups]
    before, after = (p.groups[2].quantiles["area_ratio"] for p in (PAL, scaled))
    for (p, small), (q, large) in zip(before, after, strict=True):
        assert p == q
        assert large == pytest.approx(min(small * factor, 0.5))


def test_areas_above_the_cap_are_kept(tmp_path: Path) -> None:
    content = copy.deepcopy(OWN)
    content["groups"][0]["quantiles"]["area_ratio"] = [[0, 0.1], [1, 0.8]]
    (tmp_path / "p.json").write_text(json.dumps(content))
    profile = load_profile(tmp_path / "p.json")
    assert profile.scaled(1.0) is profile
    assert profile.scaled(3.0).groups[0].quantiles["area_ratio"] == (
        (0, pytest.approx(0.3)),
        (1, 0.8),
    )


BAD = [
    ({"area_ratio": [[0, 0.1], [1, 0.99]]}, "0.95"),
    ({"area_ratio": [[0, 0.0], [1, 0.9]]}, "must lie in"),
    ({"area_ratio": [[0, 0.2], [1, 0.1]]}, "rise"),
    ({"area_ratio": [[0.1, 0.1], [1, 0.2]]}, "probability 0 to 1"),
    ({"area_ratio": [0.1, 0.2]}, "wrong kind"),
    ({"area_ratio": "much"}, "wrong kind"),
    ({"area_ratio": [[0, 0.1]]}, "two pairs"),
    ({"solidity": [[0, 0.1], [1, 1.2]]}, "solidity must lie"),
    ({"colour": [[0, 0.1], [1, 0.2]]}, "colour"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_quantiles_are_named(tmp_path: Path, change: dict, message: str) -> None:
    content = copy.deepcopy(OWN)
    content["groups"][0]["quantiles"] |= change
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_profile(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": {"triangle": 1}}, "triangle"),
        ({"families": {"noise": 0}}, "above 0"),
        ({"families": ["noise"]}, "wrong kind"),
        ({"weight": -1}, "weight"),
        ({"weight": 0}, "no group has a weight"),
        ({"weight": "much"}, "wrong kind"),
        ({"correlations": [["area_ratio", "colour", 0.5]]}, "colour"),
        ({"correlations": [["area_ratio", "spread", 2]]}, "is none"),
        ({"correlations": [["area_ratio", 2]]}, "wrong kind"),
        ({"quantiles": {}}, "missing"),
        ({"aims": {"spread": [[0, 0.5], [1, 2]]}}, "spread must lie"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_groups_are_named(tmp_path: Path, change: dict, message: str) -> None:
    content = copy.deepcopy(OWN)
    content["groups"][0] |= change
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_profile(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "x", "area_quantiles": [[0, 0.1], [1, 0.2]]}, "version 1"),
        ({**OWN, "version": 3}, "version 3"),
        ({**OWN, "groups": []}, "no group"),
        ({"name": "x"}, "missing keys"),
        ([1], "mapping"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_profile(path)


def test_missing_profile_names_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="pal"):
        load_profile("no-such-profile")
    with pytest.raises(InputError, match="area_factor"):
        PAL.scaled(0)
