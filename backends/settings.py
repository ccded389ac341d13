"""Environment variables that engines read, beside DLCORE_BACKEND and DLCORE_STRICT (registry.py)."""

from __future__ import annotations

import os

CONVOLUTION_WAYS = ("auto", "direct", "winograd")  # numbered as in conv.h


class SettingError(RuntimeError):
    """An environment variable holds what it may not; the message names it, what it holds and what it may hold."""


def convolution_way() -> str:
    """How 3 × 3 and 5 × 5 convolutions are computed, from DLCORE_CONV."""
    way = os.environ.get("DLCORE_CONV") or "auto"
    if way not in CONVOLUTION_WAYS:
        raise SettingError(f"DLCORE_CONV={way!r}: expected one of {', '.join(CONVOLUTION_WAYS)}")
    return way


def num_threads() -> int | None:
    """How many threads an engine starts with, from DLCORE_NUM_THREADS; None where it may choose."""
    text = os.environ.get("DLCORE_NUM_THREADS", "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingError(f"DLCORE_NUM_THREADS must be a positive whole number, got {text!r}")
    return int(text)
