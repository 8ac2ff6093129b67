"""What SIFT must reach on rendered boxes and cards, turned by 15 to 40 degrees."""

import importlib.util
from pathlib import Path

import pytest

from rba.matching.sift import SiftMatcher

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "matching.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("matching_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # a script finds its neighbours
        spec.loader.exec_module(module)
    return module


def check(measured, count, table):
    exact, sift = measured.totals["exact"], measured.totals["sift"]
    assert exact.pairs == sift.pairs == count
    assert exact.coverage > 0.9  # at edges one of the two ways sees less
    assert exact.pck[0] > 0.995
    assert sift.coverage >= 0.3
    assert sift.pck[1] >= 0.9
    assert sift.claimed > 100 * count
    assert measured.totals["plain OpenCV"].pck[1] < sift.pck[1]  # one plane of several
    lines = table(measured.rows()).splitlines()
    assert lines[0].startswith("matcher")
    assert len(lines) == 4


def test_sift_reaches_the_bar_on_a_few_pairs(benchmark, tmp_path):
    benchmark.render(tmp_path, 2, 256, seed=5)
    check(benchmark.measure(tmp_path, {"sift": SiftMatcher()}), 2, benchmark.table)


@pytest.mark.slow
def test_sift_reaches_the_bar_on_fifty_pairs(benchmark, tmp_path):
    benchmark.render(tmp_path, 50, 512)
    check(benchmark.measure(tmp_path, {"sift": SiftMatcher()}), 50, benchmark.table)
