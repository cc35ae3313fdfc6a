"""Where the boxes of a graph are: in layers, each below all that it comes after, so that edges lead down.

Within a layer boxes stand where their predecessors are (barycentres, a few sweeps); a wide layer is broken into rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ACROSS, DOWN, ROW_GAP = 24, 56, 16  # pixels between boxes, layers, and rows of a layer
ROW_MOST = 14  # boxes beside each other
_SWEEPS = 4


@dataclass
class Box:
    """`after`: names of those that it comes after. `x`, `y` of its left upper corner are what `arranged` finds."""

    name: str
    width: float
    height: float
    after: Sequence[str] = ()
    x: float = 0
    y: float = 0
    inner: list[Box] = field(default_factory=list["Box"])


def arranged(boxes: Sequence[Box]) -> tuple[float, float]:
    """Places the boxes; the width and height that they take. Names that are no box's are not looked at."""
    by_name = {box.name: box for box in boxes}
    above = {box.name: [name for name in box.after if name in by_name and name != box.name] for box in boxes}
    layers = _layers(boxes, above)
    _order(layers, above)
    widest, y = 0.0, 0.0
    for layer in layers:
        for at in range(0, len(layer), ROW_MOST):
            row = layer[at : at + ROW_MOST]
            x = 0.0
            for box in row:
                box.x, box.y = x, y
                x += box.width + ACROSS
            widest = max(widest, x - ACROSS)
            y += max(box.height for box in row) + ROW_GAP
        y += DOWN - ROW_GAP
    _centred(boxes, widest)
    return widest, max(0.0, y - DOWN)


def _layers(boxes: Sequence[Box], above: Mapping[str, Sequence[str]]) -> list[list[Box]]:
    """By the longest way from a beginning. What is in a circle counts as a beginning."""
    depth: dict[str, int] = {}
    left = {box.name: len(above[box.name]) for box in boxes}
    below: dict[str, list[str]] = {box.name: [] for box in boxes}
    for name, others in above.items():
        for other in others:
            below[other].append(name)
    ready = [name for name, number in left.items() if not number]
    while ready:
        name = ready.pop()
        depth[name] = max((depth[other] + 1 for other in above[name]), default=0)
        for other in below[name]:
            left[other] -= 1
            if not left[other]:
                ready.append(other)
    layers: list[list[Box]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for box in boxes:
        layers[depth.get(box.name, 0)].append(box)
    return layers


def _order(layers: Sequence[list[Box]], above: Mapping[str, Sequence[str]]) -> None:
    below: dict[str, list[str]] = {}
    for name, others in above.items():
        for other in others:
            below.setdefault(other, []).append(name)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        place = {box.name: at / max(1, len(layer) - 1) for layer in layers for at, box in enumerate(layer)}
        for layer in layers if down else reversed(layers):
            wanted: dict[str, float] = {}
            for box in layer:
                near = [place[other] for other in (above.get(box.name, ()) if down else below.get(box.name, ()))]
                wanted[box.name] = sum(near) / len(near) if near else place[box.name]
            layer.sort(key=lambda box: wanted[box.name])
            place |= {box.name: at / max(1, len(layer) - 1) for at, box in enumerate(layer)}


def _centred(boxes: Sequence[Box], width: float) -> None:
    rows: dict[float, list[Box]] = {}
    for box in boxes:
        rows.setdefault(box.y, []).append(box)
    for row in rows.values():
        shift = (width - max(box.x + box.width for box in row)) / 2
        for box in row:
            box.x += shift


def edge(before: Box, after: Box) -> str:
    """The path of SVG from one box down to another."""
    x, y = before.x + before.width / 2, before.y + before.height
    to_x, to_y = after.x + after.width / 2, after.y
    bend = max(16.0, abs(to_y - y) / 2)
    return f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
