"""Who is asked what: balance of pairs, sides and places; nothing twice; equal for equal seeds."""

import collections
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.errors import InputError
from rba.evaluation.study.plan import SECTIONS, Plan, PlanSettings, Question, make_plan


def pictures(methods: tuple[str, ...], cases: int) -> dict[str, dict[str, bytes]]:
    return {f"c{n:02d}": {m: f"{m}{n}".encode() for m in methods} for n in range(cases)}


def asked(plan: Plan, section: str) -> list[list[Question]]:
    """Questions of each rater in a section, without checks."""
    return [
        [q for q in plan.of_rater(rater) if q.section == section and q.right is None]
        for rater in range(1, plan.settings.raters + 1)
    ]


@pytest.mark.parametrize(
    ("methods", "cases", "at_once", "questions", "raters"),
    [
        ("ab", 7, 2, 5, 9),
        ("abc", 10, 2, 12, 10),
        ("abcd", 9, 2, 10, 7),
        ("abcd", 8, None, 8, 5),
        ("abc", 5, None, 4, 12),
    ],
)
def test_pairs_sides_and_cases_are_balanced(
    methods: str, cases: int, at_once: int | None, questions: int, raters: int
) -> None:
    names = tuple(methods)
    plan = make_plan(
        names,
        pictures(names, cases),
        PlanSettings(raters=raters, questions=questions, at_once=at_once),
    )
    size = len(names) if at_once is None else at_once
    for section in SECTIONS:
        sheets = asked(plan, section)
        assert {len(sheet) for sheet in sheets} == {questions}
        groups = collections.Counter(frozenset(q.shown) for sheet in sheets for q in sheet)
        assert len(groups) == len(list(itertools.combinations(names, size)))
        assert max(groups.values()) - min(groups.values()) <= 1
        places = collections.Counter(
            (frozenset(q.shown), method, place)
            for sheet in sheets
            for q in sheet
            for place, method in enumerate(q.shown)
        )
        for group, number in groups.items():
            for method in group:
                stood = [places[group, method, place] for place in range(size)]
                assert sum(stood) == number
                assert max(stood) - min(stood) <= 2 * size - 2
                assert size > 2 or max(stood) - min(stood) <= 2
        used = collections.Counter(q.case for sheet in sheets for q in sheet)
        assert len(used) == cases
        for sheet in sheets:
            met = [(q.case, frozenset(q.shown)) for q in sheet]
            assert len(set(met)) == len(met), "a rater is asked the same twice"


def test_over_whole_rounds_every_case_has_every_method_on_both_sides() -> None:
    names = ("a", "b", "c")
    plan = make_plan(names, pictures(names, 6), PlanSettings(raters=6, questions=6))
    for section in SECTIONS:  # 36 questions = two rounds over 3 pairs and 6 cases
        seen = collections.Counter(
            (q.case, q.shown) for sheet in asked(plan, section) for q in sheet
        )
        assert len(seen) == 36
        assert set(seen.values()) == {1}


def test_a_rater_meets_all_cases_before_one_comes_again() -> None:
    names = ("a", "b", "c")
    plan = make_plan(names, pictures(names, 12), PlanSettings(raters=8, questions=12))
    for section in SECTIONS:
        for sheet in asked(plan, section):
            assert len({q.case for q in sheet}) == 12


@given(seed=st.integers(0, 2**40), rater=st.integers(1, 24))
@settings(max_examples=10, deadline=None)
def test_a_plan_is_a_function_of_seed_and_rater(seed: int, rater: int) -> None:
    names = ("a", "b", "c")
    first = make_plan(names, pictures(names, 10), PlanSettings(seed=seed))
    again = make_plan(names, pictures(names, 10), PlanSettings(seed=seed, raters=rater))
    assert first.of_rater(rater) == again.of_rater(rater)
    other = make_plan(names, pictures(names, 10), PlanSettings(seed=seed + 1))
    assert other.of_rater(rater) != first.of_rater(rater)


def test_checks_show_one_whole_picture() -> None:
    names = ("a", "b", "c")
    plan = make_plan(names, pictures(names, 10), PlanSettings(raters=10, checks=3))
    rights: collections.Counter[int] = collections.Counter()
    for rater in range(1, 11):
        checks = [q for q in plan.of_rater(rater) if q.right is not None]
        assert len(checks) == 6
        for check in checks:
            assert check.right is not None
            rights[check.right] += 1
            whole = [place for place, method in enumerate(check.shown) if method is not None]
            assert whole == [check.right]
    assert set(rights.values()) == {30}


def test_equal_and_missing_pictures_are_not_compared() -> None:
    names = ("a", "b", "c")
    found = pictures(names, 4)
    found["c01"]["b"] = found["c01"]["a"]
    del found["c02"]["c"]
    plan = make_plan(names, found, PlanSettings(raters=1, questions=3))
    assert plan.groups == {
        ("a", "b"): ["c00", "c02", "c03"],
        ("a", "c"): ["c00", "c01", "c03"],
        ("b", "c"): ["c00", "c01", "c03"],
    }


@pytest.mark.parametrize(
    ("methods", "change", "message"),
    [
        ("a", {}, "needs two methods"),
        ("ab", {"raters": 0}, "--raters 0"),
        ("ab", {"checks": -1}, "--checks -1"),
        ("ab", {"questions": 0}, "--questions 0"),
        ("ab", {"at_once": 3}, "--at-once 3; give 2 to 2"),
        ("abc", {"questions": 16}, "at most 15, a multiple of 3"),
        ("abc", {"questions": 14}, "at most 15, a multiple of 3"),
    ],
)
def test_wrong_numbers_are_refused(methods: str, change: dict[str, int], message: str) -> None:
    names = tuple(methods)
    with pytest.raises(InputError, match=message):
        make_plan(names, pictures(names, 5), PlanSettings(**change))


def test_methods_that_never_differ_are_refused() -> None:
    found = {"c": {"a": b"1", "b": b"1", "c": b"2"}}
    with pytest.raises(InputError, match="a and b have no case"):
        make_plan(("a", "b", "c"), found, PlanSettings())
