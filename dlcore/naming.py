"""Names as users type them: the error for one that does not exist, and Keras's snake_case of a class name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for an unknown `name` of something, with the nearest known names or else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=3)
    if not close:
        lowered = {k.lower(): k for k in known}
        close = [lowered[m] for m in difflib.get_close_matches(str(name).lower(), lowered, n=3)]
    if close:
        hint = "Did you mean " + " or ".join(repr(match) for match in close) + "?"
    else:
        hint = "Known names: " + ", ".join(known)
    return ValueError(f"Unknown {kind}: {name!r}. {hint}")


def to_snake_case(name: str) -> str:
    """`MeanSquaredError` -> `mean_squared_error`."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
