"""Rows that were measured anew, put into the result of an earlier run: each is compared within itself, turn by turn."""

from collections.abc import Mapping
from typing import Any

from benches.loops import OURS

SAME = ("python", "build", "processor", "system")
"""What a machine has to have in common with another for their rows to stand on one page."""


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Why rows of the machine `now` can't stand beside those of the machine `before`; None if they can."""
    for what in SAME:
        if before[what] != now[what]:
            return f"{what} is not what it was: {now[what]}, not {before[what]}"
    if _peers(before) != _peers(now):
        return f"the packages are not what they were: {_peers(now)}, not {_peers(before)}"
    return None


def renew(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The result `old` with the rows of `new` in the place of the same ones, and with a note of when and on what
    those were measured. Raises ValueError if `old` has not all of them, or the two were not measured on the same."""
    now = new["run"]["machine"]
    if told := difference(old["run"]["machine"], now):
        raise ValueError(told)
    renewed = {(table["key"], row["key"]): row for table in new["tables"] for row in table["rows"]}
    known = {(table["key"], row["key"]) for table in old["tables"] for row in table["rows"]}
    if missing := renewed.keys() - known:
        raise ValueError(f"no such rows in the earlier result: {sorted(missing)}")
    tables = [
        table | {"rows": [renewed.get((table["key"], row["key"]), row) for row in table["rows"]]}
        for table in old["tables"]
    ]
    titles = {f"{table}/{key}": row["title"] for (table, key), row in renewed.items()}
    notes = [
        note | {"rows": left}
        for note in old["run"].get("renewed", ())
        if (left := {key: title for key, title in note["rows"].items() if key not in titles})
    ]
    note = {"rows": titles, "rounds": new["run"]["rounds"]}
    note |= {fact: now[fact] for fact in ("date", "commit", "load_average")}
    return {"run": old["run"] | {"renewed": [*notes, note]}, "tables": tables}


def _peers(machine: Mapping[str, Any]) -> dict[str, Any]:
    return {name: version for name, version in machine["packages"].items() if name != OURS}
