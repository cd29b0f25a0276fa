"""The plot, from a summary: every loop beside the best peer, which is 1, and how sure that is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benches.loops import FLOOR, NO_LOOP, OURS

COLOURS = {
    FLOOR: "#9a9a9a",
    NO_LOOP: "#9a9a9a",
    "asyncio": "#f2c14e",
    "uvloop": "#5fad56",
    "uvloop+aiofastnet": "#2a7f62",
    "rloop": "#4d9de0",
    OURS: "#d1495b",
}
BAR = 0.14
"""Thickness of a bar; a row is 1."""


def draw(tables: list[dict[str, Any]], directory: Path) -> None:
    """Writes a picture a table, named after its key, into `directory`."""
    for table in tables:
        figure = Figure(figsize=(10, 1.6 + 0.8 * len(table["rows"])), layout="constrained")
        _draw_table(figure.subplots(), table)
        figure.suptitle("How many times as good as the best peer (longer is better)")
        keys: list[Artist] = [
            Patch(color=colour, label=loop)
            for loop, colour in COLOURS.items()
            if loop in table["loops"]
        ]
        keys.append(Line2D([], [], color="black", label=f"{OURS}'s target"))
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)
        # The same figures give the same file.
        with matplotlib.rc_context({"svg.hashsalt": "ferrio"}):
            figure.savefig(directory / f"{table['key']}.svg", metadata={"Date": None})


def _draw_table(panel: Axes, table: Mapping[str, Any]) -> None:
    loops = table["loops"]
    for place, loop in enumerate(loops):
        offset = (place - (len(loops) - 1) / 2) * BAR
        measured = {
            row: values["cells"][loop]["ratio"]
            for row, values in enumerate(table["rows"])
            if "ratio" in values["cells"].get(loop, {})
        }
        panel.barh(
            [row + offset for row in measured],
            list(measured.values()),
            height=BAR,
            color=COLOURS[loop],
        )
        for row in measured:
            lowest, highest = table["rows"][row]["cells"][loop]["interval"]
            panel.hlines(row + offset, lowest, highest, colors="black", linewidth=0.5)
        for row, values in enumerate(table["rows"]):
            absent = values["cells"].get(loop, {}).get("absent")
            if absent:
                panel.text(0.01, row + offset, f"{loop}: {absent}", va="center", fontsize=6)
    for row, values in enumerate(table["rows"]):
        if values["target"] is not None:
            panel.vlines(values["target"], row - 0.45, row + 0.45, colors="black", linewidth=1.2)
    panel.axvline(1, color="black", linewidth=0.6, linestyle=":")
    panel.set_yticks(range(len(table["rows"])), [row["title"] for row in table["rows"]])
    panel.set_ylim(len(table["rows"]) - 0.4, -0.6)
    panel.set_xlim(left=0)
    panel.set_title(table["title"], loc="left", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
