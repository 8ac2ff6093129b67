"""How `check=true` lays out what it says."""

from rba.training.check import report


def test_the_report_groups_thousands_and_nests() -> None:
    text = report({"a": 1234567, "b": {"c": 0.5, "d": "x"}})
    assert text == "a: 1,234,567\nb:\n  c: 0.50\n  d: x"
