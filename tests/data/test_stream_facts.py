import pytest

from rba.data.stream_facts import fact_differences


def facts(sets, window=8, parts=1, mode="alignment"):
    return {
        "node_parts": parts,
        mode: {
            "shuffle_window": window,
            "sets": {
                name: {"weight": weight, "shards": shards}
                for name, (weight, shards) in sets.items()
            },
        },
    }


A, B, C = "a 00.tar 10 aaaa", "b.tar 10 bbbb", "c.tar 5 cccc"
ONE = facts({"photos": (1, f"{A}\n{B}")})
TWO = facts({"x": (1, A), "y": (2, B)})


@pytest.mark.parametrize(
    ("before", "now", "setting", "words"),
    [
        (ONE, facts({"photos": (1, f"{A}\n{B}\n{C}")}), "shards",
         "photos: 1 shard added (c.tar)"),
        (ONE, facts({"photos": (1, B)}), "shards", "photos: 1 shard removed (a 00.tar)"),
        (ONE, facts({"photos": (1, f"{A}\nb.tar 10 dddd")}), "shards",
         "photos: 1 shard changed (b.tar)"),
        (ONE, facts({"photos": (1, f"{A}\nb.tar 11 bbbb")}), "shards", "1 shard changed (b.tar)"),
        (ONE, facts({"photos": (1, f"{B}\n{A}")}), "shards", "its shards come in another order"),
        (ONE, facts({"photos": (1, C)}), "shards",
         "1 shard added (c.tar), 2 shards removed (a 00.tar, b.tar)"),
        (TWO, facts({"x": (1, A), "y": (3, B)}), "shards",
         "the weights were x 1 : y 2, are x 1 : y 3"),
        (TWO, ONE, "shards", "the set x was removed; the set y was removed; the set photos was"),
        (ONE, facts({"photos": (1, f"{A}\n{B}")}, window=4), "shuffle_window", "was 8, is 4"),
    ],
)  # fmt: skip
def test_differences_are_named(before, now, setting, words):
    found = list(fact_differences(before, now))
    assert {key for key, _ in found} == {f"data.alignment.{setting}"}
    assert words in "; ".join(text.removeprefix("data.alignment.shards: ") for _, text in found)


def test_parts_are_compared():
    ((key, text),) = fact_differences(TWO, facts({"x": (1, A), "y": (2, B)}, parts=4))
    assert (key, text) == ("data.node_parts", "data.node_parts was 1, is 4")


@pytest.mark.parametrize(
    "now", [ONE, facts({"moved": (1, f"{A}\n{B}")}), facts({"p": (1, A)}, mode="refinement")]
)
def test_what_is_no_difference(now):
    assert list(fact_differences(ONE, now)) == []
