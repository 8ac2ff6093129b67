import pytest

from rba.batch import BadSample
from rba.data.bad_samples import BadSampleLimit, summarize, tabulate
from rba.errors import InputError


def bad(shard="a.tar", index=0, reason="cut short"):
    return BadSample(dataset="set", shard=shard, index=index, key="", reason=reason)


@pytest.mark.parametrize(
    ("limit", "number", "read", "named"),
    [
        ({"count": 5, "share": None}, 5, 10, None),
        ({"count": 5, "share": None}, 6, 10**9, "count=5"),
        ({"count": 0}, 1, 10**9, "count=0"),
        ({"count": 0}, 0, 0, None),
        ({"count": None, "share": 0.01}, 1, 8, None),
        ({"count": None, "share": 0.01}, 10, 8, None),
        ({"count": None, "share": 0.01}, 11, 8, "11 of the 8 samples"),
        ({"count": None, "share": 0.01}, 100, 10_000, None),
        ({"count": None, "share": 0.01}, 101, 10_000, "share=0.01"),
        ({"count": None, "share": 0.5, "min_samples": 1}, 1, 1, "share=0.5"),
        ({"count": None, "share": None}, 10**9, 1, None),
    ],
)
def test_the_limit(limit, number, read, named):
    told = BadSampleLimit(**limit).exceeded(number, read)
    assert (told is None) == (named is None)
    assert named is None or named in told


@pytest.mark.parametrize(
    "settings", [{"count": -1}, {"share": -0.1}, {"share": 1.1}, {"min_samples": 0}]
)
def test_limits_that_make_no_sense(settings):
    ((name, value),) = settings.items()
    with pytest.raises(InputError, match=f"max_bad_samples.{name}={value}; give"):
        BadSampleLimit(**settings)


def test_the_summary_counts_by_shard_and_reason():
    samples = [*(bad(index=i) for i in range(3)), bad("b.tar"), bad("b.tar", 1, "no JSON")]
    lines = ["3 x set/a.tar: cut short", "1 x set/b.tar: cut short", "1 x set/b.tar: no JSON"]
    assert summarize(samples) == lines
    assert summarize(samples, shown=1) == [lines[0], "... 2 more shards and reasons"]
    assert tabulate(samples) == [
        "  samples  shard      reason",
        "        3  set/a.tar  cut short",
        "        1  set/b.tar  cut short",
        "        1  set/b.tar  no JSON",
    ]
