"""Work in processes: in order, few waiting, a process that dies costs one input."""

import os

import pytest

from rba.data.build.pool import num_workers, ordered_map


def test_few_inputs_are_not_worth_a_process():
    assert num_workers(8, 10, fewest=64) == 1
    assert num_workers(8, 10, fewest=4) == 3
    assert num_workers(8, 10_000, fewest=64) == 8
    assert num_workers(0, 10_000, fewest=64) >= 1


def test_workers_have_one_thread_each(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    asked = "__import__('os').environ['OPENBLAS_NUM_THREADS']"
    found = ordered_map(eval, [asked] * 4, workers=2, chunk=1, crashed=lambda _: "crashed")
    assert list(found) == ["1"] * 4
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_one_worker_is_this_process():
    taken: list[int] = []

    def inputs():
        for number in range(5):
            taken.append(number)
            yield number

    results = ordered_map(lambda n: n * n, inputs(), workers=1, chunk=8, crashed=lambda _: -1)
    assert next(results) == 0
    assert taken == [0], "inputs are taken as they are needed"
    assert list(results) == [1, 4, 9, 16]


def test_results_come_in_order_and_a_crash_costs_one_input():
    crash = "__import__('os')._exit(3)"
    inputs = [crash if n in (7, 31) else f"{n} * 2" for n in range(40)]
    taken = 0

    def counted():
        nonlocal taken
        for text in inputs:
            taken += 1
            yield text

    results = ordered_map(eval, counted(), workers=2, chunk=3, crashed=lambda _: "crashed")
    found = [next(results)]
    assert taken <= 2 * 3 * 3, "the window is bounded"
    found += list(results)
    assert found == ["crashed" if n in (7, 31) else n * 2 for n in range(40)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_error_of_the_function_ends_the_work():
    results = ordered_map(eval, ["1", "1 / 0"] * 9, workers=2, chunk=1, crashed=lambda _: 0)
    with pytest.raises(ZeroDivisionError):
        list(results)
