"""Rewrites of recorded calls (capture.py): the same results with less work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .capture import Call
from .interface import Array


def overwrite_gradients(calls: list[Call], gradients: Sequence[Array]) -> list[Call]:
    """Let a step start from gradients of zero without anybody filling them with zeros.

    The first call that adds to a gradient writes to it instead; where that cannot be, the gradient is filled before.

    Args:
        calls: a recorded step. gradients: arrays that overlap no other, each of which the step adds to.
    """
    ranges = [(a.ctypes.data, a.ctypes.data + a.nbytes, a) for a in gradients if a.size]
    fresh = {start: array for start, _, array in ranges}

    def touched(value: Any) -> list[int]:
        if not isinstance(value, np.ndarray) or not value.size:
            return []
        low, high = np.lib.array_utils.byte_bounds(value)
        return [start for start, end, _ in ranges if start < high and low < end]

    rewritten: list[Call] = []
    for call in calls:
        places = {start for value in call.arguments.values() for start in touched(value)}
        new = places & fresh.keys()
        if new and new == places and call.arguments.get("accumulate"):
            call.arguments["accumulate"] = False
        else:
            rewritten += [fill(fresh[start]) for start in sorted(new)]
        for start in new:
            del fresh[start]
        rewritten.append(call)
    return rewritten + [fill(array) for array in fresh.values()]


def fill(array: Array, value: float = 0.0) -> Call:
    return Call("fill", {"y": array, "value": value})
