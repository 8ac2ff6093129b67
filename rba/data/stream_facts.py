"""What the training stream depends on beside the step: kept in checkpoints, compared at resume.

A checkpoint keeps the facts in plain containers; a shard is one line ``NAME SAMPLES SHA256``, its
digest shortened.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rba.batch import Mode
from rba.data.shard_choice import ShardChoiceSets

_DIGEST = 16  # hexadecimal digits: changes are found, forgers are not kept out
_SHOWN = 3  # names of shards in a message


def stream_facts(
    chosen: Mapping[Mode, ShardChoiceSets], windows: Mapping[Mode, int], node_parts: int
) -> dict[str, Any]:
    """Return the facts of the modes that are used.

    Args:
        chosen: The sets of each mode.
        windows: Shards that each mode shuffles together.
        node_parts: See `LoaderSettings`.
    """
    facts: dict[str, Any] = {"node_parts": node_parts}
    for mode, choice in chosen.items():
        sets = {
            shards.name: {
                "weight": weight,
                "shards": "\n".join(
                    f"{entry.name} {entry.samples} {entry.sha256[:_DIGEST]}"
                    for entry in shards.entries
                ),
            }
            for shards, weight in zip(choice.sets, choice.mixture.weights, strict=True)
        }
        facts[mode.value] = {"shuffle_window": windows[mode], "sets": sets}
    return facts


def fact_differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Compare the facts of two runs; modes that only one of them uses are not compared.

    Yields:
        The setting that a difference belongs to, and what differs.
    """
    if before["node_parts"] != now["node_parts"]:
        yield _was("data.node_parts", before["node_parts"], now["node_parts"])
    for mode in (mode.value for mode in Mode if mode in before and mode in now):
        was, is_ = before[mode], now[mode]
        if was["shuffle_window"] != is_["shuffle_window"]:
            key = f"data.{mode}.shuffle_window"
            yield _was(key, was["shuffle_window"], is_["shuffle_window"])
        for text in _set_differences(was["sets"], is_["sets"]):
            yield f"data.{mode}.shards", f"data.{mode}.shards: {text}"


def _was(key: str, before: Any, now: Any) -> tuple[str, str]:
    return key, f"{key} was {before}, is {now}"


def _set_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if len(before) == len(now) == 1:  # the only set of a mode may be renamed or moved
        (old,), ((name, new),) = before.values(), now.items()
        return _shard_differences(name, old["shards"], new["shards"])
    found = [f"the set {name} was removed" for name in sorted(before.keys() - now.keys())]
    found += [f"the set {name} was added" for name in sorted(now.keys() - before.keys())]
    for name in sorted(before.keys() & now.keys()):
        found += _shard_differences(name, before[name]["shards"], now[name]["shards"])
    if not found:
        weights = {name: (before[name]["weight"], now[name]["weight"]) for name in before}
        if any(old != new for old, new in weights.values()):
            old, new = (
                " : ".join(f"{name} {pair[side]}" for name, pair in weights.items())
                for side in (0, 1)
            )
            found.append(f"the weights were {old}, are {new}")
    return found


def _shard_differences(name: str, before: str, now: str) -> list[str]:
    """Name the shards that were added, removed or changed, or that come in another order."""
    if before == now:
        return []
    old, new = _by_name(before), _by_name(now)
    changed = [shard for shard in old if shard in new and old[shard] != new[shard]]
    kinds = {
        "added": [shard for shard in new if shard not in old],
        "removed": [shard for shard in old if shard not in new],
        "changed": changed,
    }
    told = [_count(kind, shards) for kind, shards in kinds.items() if shards]
    return [f"{name}: {', '.join(told) or 'its shards come in another order'}"]


def _by_name(text: str) -> dict[str, str]:
    lines = (line.rsplit(" ", 2) for line in text.splitlines())
    return {name: f"{samples} {digest}" for name, samples, digest in lines}


def _count(kind: str, shards: list[str]) -> str:
    shown = ", ".join(shards[:_SHOWN]) + (", ..." if len(shards) > _SHOWN else "")
    return f"{len(shards)} {'shard' if len(shards) == 1 else 'shards'} {kind} ({shown})"
