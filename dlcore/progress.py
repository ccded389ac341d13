"""The progress of a long run on standard error: a bar on a terminal and in a notebook, one line per epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

_INTERVAL = 0.1  # seconds between two refreshes of a bar


def format_logs(logs: Mapping[str, Any]) -> str:
    """`loss: 0.1234 - accuracy: 0.9000`; very small and very large numbers in scientific notation."""
    return " - ".join(f"{name}: {_number(value)}" for name, value in logs.items())


def _number(value: Any) -> str:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{value:.4f}" if value == 0.0 or 1e-3 <= abs(value) < 1e4 or value != value else f"{value:.4e}"


def _duration(seconds: float) -> str:
    if seconds < 1.0:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60.0 else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, whose standard error is no terminal but shows bars all the same."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def _tqdm(notebook: bool) -> Any:
    """tqdm's bar of widgets in a notebook that has ipywidgets, else its bar of text."""
    from tqdm import tqdm

    if notebook:
        try:
            import ipywidgets  # noqa: F401
            from tqdm.notebook import tqdm  # type: ignore[no-redef]
        except ImportError:
            pass
    return tqdm


class ProgressBar:
    """Progress through one pass over the data, with ETA, samples per second and the latest figures.

    Args:
        label: what stands in front, "Epoch 3/10".
        total: samples (or batches, see `unit`) in all, or None if unknown.
        unit: "samples" or "batches".
        bar: True for a bar that moves, False for one line at the end, None for a bar on a terminal and in a notebook.
        stream: where to write; standard error by default.
    """

    def __init__(
        self, label: str, total: int | None, unit: str = "samples", bar: bool | None = None, stream: Any = None
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        notebook = stream is None and in_notebook()
        if bar is None:
            bar = notebook or (hasattr(self._stream, "isatty") and self._stream.isatty())
        self._label = label
        self._unit = unit
        self._count = 0
        self._shown = 0
        self._start = self._last = time.perf_counter()
        self._bar = None
        if bar:
            count = "{n_fmt}" if total is None else "{percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}"
            self._bar = _tqdm(notebook)(
                total=total,
                desc=label,
                unit=f" {unit}",
                file=self._stream,
                dynamic_ncols=True,
                mininterval=0.0,
                bar_format="{desc} " + count + " [{elapsed}<{remaining}, {rate_fmt}] {postfix}",
            )

    def advance(self, count: int) -> bool:
        """Note that `count` more are done; True if it is time to `show` figures."""
        self._count += count
        now = time.perf_counter()
        if self._bar is None or now - self._last < _INTERVAL:
            return False
        self._last = now
        return True

    def show(self, logs: Mapping[str, Any]) -> None:
        """Refresh the bar with the latest figures."""
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update(self._count - self._shown)
            self._shown = self._count

    def finish(self, logs: Mapping[str, Any]) -> None:
        """Show the last figures and end the line."""
        if self._bar is not None:
            self.show(logs)
            self._bar.refresh()
            self._bar.close()
            return
        seconds = time.perf_counter() - self._start
        rate = f"{self._count / seconds:,.0f} {self._unit}/s" if seconds else ""
        print(
            " - ".join(part for part in (self._label, _duration(seconds), rate, format_logs(logs)) if part),
            file=self._stream,
            flush=True,
        )
