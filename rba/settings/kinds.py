"""What a setting of each kind is called, and what counts as one."""

from typing import Any

KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
}


def is_kind(value: Any, kind: type) -> bool:
    """Return whether a value is of a kind; whole numbers are numbers, truth values are not."""
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind
