import shutil

import pytest

from rba.batch import Mode
from rba.data.shard_choice import open_choice
from rba.errors import InputError

KEY = "data.alignment.shards"


@pytest.fixture
def twins(alignment_folder, tmp_path):
    """Two folders of the same name, and one of another."""
    folders = [tmp_path / "a" / "photos", tmp_path / "b" / "photos", tmp_path / "other"]
    for folder in folders:
        shutil.copytree(alignment_folder, folder)
    return [str(folder) for folder in folders]


def opened(choice):
    chosen = open_choice(choice, Mode.ALIGNMENT, KEY)
    return [shards.name for shards in chosen.sets], chosen.mixture.weights


def test_the_forms_of_the_setting(twins):
    one, two, other = twins
    assert opened(one) == (["photos"], (1,))
    assert opened([one, other]) == (["other", "photos"], (1, 1))  # by size: 23 each
    first = f"{other}/alignment-000000.tar"
    assert opened([one, first])[1] == (5, 23)
    assert opened({"x": one, "y": two}) == (["x", "y"], (1, 1))
    weighted = {"y": {"shards": one, "weight": 3}, "x": {"shards": two, "weight": 0.5}}
    assert opened(weighted) == (["x", "y"], (1, 6))


def test_names_tell_samples_apart(twins):
    chosen = open_choice({"x": twins[0], "y": twins[1]}, Mode.ALIGNMENT, KEY)
    assert [shards.sample_id(0, "k") for shards in chosen.sets] == [
        "x/alignment-000000/k", "y/alignment-000000/k",
    ]  # fmt: skip


def test_equal_names_are_refused_with_the_way_out(twins):
    with pytest.raises(InputError, match=r"both named photos.*data.alignment.shards=\{a: ") as e:
        opened(twins[:2])
    assert twins[0] in str(e.value)
    assert twins[1] in str(e.value)
    way_out = {"a": twins[0], "b": twins[1]}
    assert opened(way_out)[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (5, "names no shards"),
        ([], "names no shards"),
        ({}, "names no shards"),
        ([7], "names no shards"),
        ({"a": {"weight": 1}}, "data.alignment.shards.a.*names no shards"),
        ({"a": {"shards": "x", "weigth": 1}}, "a.weigth is unknown"),
        ({"a": {"shards": "x", "weight": 0}}, "data.alignment.shards.a: a weight of 0"),
        ({"a/b": "x"}, "without /"),
        ({"a": {"shards": "x", "weight": 1}, "b": "y"}, "x has a weight and others have none"),
        (["nowhere"], "nowhere does not exist"),
    ],
)
def test_values_that_are_no_choice(choice, words):
    with pytest.raises(InputError, match=words):
        opened(choice)
