"""The model card: every figure of a report, and where a model came from."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from rba.evaluation.card import CardFacts, Photo, TrainedStage, model_card
from rba.evaluation.markdown import figure, number
from rba.evaluation.report import Report


@pytest.fixture
def facts() -> CardFacts:
    return CardFacts(
        name="tiny",
        commit="0123abcd",
        commands=["python train.py seed=5", "rba export --output=OUT/model"],
        stages=[
            TrainedStage(
                name="easy", seed=5, max_steps=1000, samples={"alignment": 8000, "refinement": 0}
            ),
            TrainedStage(
                name="hard",
                seed=6,
                max_steps=500,
                samples={"alignment": 4000, "refinement": 4001},
                continued_from="easy",
            ),
        ],
        parameters={"unet": 1_500_000, "encoder": 250_000},
        architecture="unet:\n  sample_size: 8\n",
        precision="float16",
        image_size=64,
        data={
            "training": {"split": "train", "shapes": ["box"], "density": [3.0, 5.0]},
            "test": {"split": "heldout", "shapes": ["box", "prism", "dome"]},
        },
        photos=[
            Photo(name="chelsea", author="Stefan van der Walt", licence="CC0", heldout=False),
            Photo(name="rocket", author="SpaceX", licence="public domain", heldout=True),
        ],
        heldout_letters=["J", "A"],
        heldout_corners=[5, 8],
    )


@pytest.fixture
def metrics(report: Report) -> dict[str, Any]:
    half = {"sampler_step_index": 7, "layer": 13, "miou": 0.4321, "num_cases": 2}
    calibration = {
        **half,
        "num_cases": 4,
        "halves": {
            "same_cell": False,
            "rank_correlation": 0.8765,
            "even": half | {"miou_elsewhere": 0.2468},
            "odd": half | {"layer": 11, "miou_elsewhere": 0.1357},
        },
    }
    return {**report.metrics, "calibration": calibration}


def means(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every figure that has an interval: the dict that holds it, and its name."""
    if isinstance(node, dict):
        for name, value in node.items():
            if f"{name}_interval" in node:
                yield node, name
            else:
                yield from means(value)


def test_every_figure_of_a_report_is_in_the_card(facts: CardFacts, metrics: dict[str, Any]) -> None:
    figures = list(means(metrics))
    assert len(figures) > 60
    # Each figure gets a value of its own, so that no other can stand in for it.
    for index, (holder, name) in enumerate(figures):
        holder[name], holder[f"{name}_interval"] = 1000.0 + index, [index, 2000.0 + index]
    card = model_card(facts, metrics)
    missing = [name for index, (_, name) in enumerate(figures) if f"{1000 + index}." not in card]
    assert missing == []
    assert all(f"{2000 + index}." in card for index in range(len(figures)))
    for value in (
        *(metrics["truth"][name] for name in metrics["truth"]),
        *(metrics["seconds"][name] for name in ("align_per_case", "refine_per_case", "total")),
        metrics["max_change_outside_mask"],
        metrics["median_artifact_area_share"],
        metrics["median_feathered_area_share"],
    ):
        assert f"| {number(value)} |" in card
    for text in ("0.4321", "0.8765", "0.2468", "0.1357", "| 13 |", "| 11 |", "halves: no"):
        assert text in card


def test_what_is_missing_is_not_measured(facts: CardFacts, metrics: dict[str, Any]) -> None:
    whole = model_card(facts, metrics)
    assert "no look-alike" not in whole
    partial = copy.deepcopy(metrics)
    partial["alignment"]["model"]["miou"] = None
    del partial["refinement"]["true_region"]
    del partial["calibration"]
    del partial["subsets"]["look_alikes"]
    card = model_card(facts, partial)
    assert "| model | not measured |" in card
    assert "| true region | not measured | not measured |" in card
    assert card.count("not measured") > whole.count("not measured") + 20
    empty = model_card(facts, {})
    assert "| right reference minus defect | not measured |" in empty
    for title in ("### All objects", "### Objects with look-alike places", "### Calibration"):
        assert title in card
        assert title in empty


def test_the_card_says_how_the_model_was_made(facts: CardFacts) -> None:
    card = model_card(facts, {})
    for text in (
        "commit `0123abcd`",
        "python train.py seed=5\nrba export --output=OUT/model",
        "| easy | random weights | 5 | 1,000 | 8,000 | 0 |",
        "| hard | easy | 6 | 500 | 4,000 | 4,001 |",
        "| total |  |  | 1,500 | 12,000 | 4,001 |",
        "| total | 1,750,000 |",
        "```yaml\nunet:\n  sample_size: 8\n```",
        "| density | 3.0, 5.0 | - |",
        "| shapes | box | box, prism, dome |",
        "| chelsea | Stefan van der Walt | CC0 | training |",
        "| rocket | SpaceX | public domain | test |",
        "digits A J; stars and polygons with 5, 8 corners; the shapes prism, dome.",
        "crops of 64 px",
        "float16",
    ):
        assert text in card
    assert max(len(line) for line in card.splitlines() if line.startswith("-")) < 400


def test_what_was_not_held_out_is_not_said_to_be(facts: CardFacts) -> None:
    data = {name: {**settings, "split": "all"} for name, settings in facts.data.items()}
    card = model_card(dataclasses.replace(facts, data=data), {})
    assert "nothing was held out" in card
    assert "Never seen" not in card


def test_a_model_of_the_users_pictures_names_none(facts: CardFacts) -> None:
    card = model_card(dataclasses.replace(facts, photos=[]), {})
    assert "pictures of the user" in card
    assert "licence |" not in card


def test_figures_are_written_with_their_intervals() -> None:
    scores = {"miou": 0.25, "miou_interval": [0.2, 0.3], "psnr_in_hole": 12.5}
    assert figure(scores, "miou") == "0.250 [0.200, 0.300]"
    assert figure(scores, "psnr_in_hole") == "12.50 [no interval]"
    assert figure(scores, "hit_rate") == figure(None, "miou") == "not measured"
    assert (number(True), number(1234), number(0.12345)) == ("yes", "1,234", "0.1235")
