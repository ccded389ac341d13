"""RNN, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .graph import Node, Unsupported, Value, limit

_CELLS = {  # layer, its gates in ONNX's order by the place they have here, activations
    "RNN": (layers.SimpleRNN, [0], ["tanh"]),
    "LSTM": (layers.LSTM, [0, 2, 3, 1], ["sigmoid", "tanh", "tanh"]),  # ONNX i o f c; here i f c o
    "GRU": (layers.GRU, [0, 1, 2], ["sigmoid", "tanh"]),
}
_ACTIVATIONS = ("relu", "sigmoid", "softplus", "softsign", "tanh")  # the same without parameters


def _recurrent(n: Node) -> list[Value]:
    """Y [T, directions, N, H], the last h and, of an LSTM, the last c [directions, N, H]; batch first for layout 1."""
    kind, gates, _ = _CELLS[n.op]
    x, w, u, b = n.real(), n.constant(1), n.constant(2), n.constant(3)
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
        n.attribute("direction", "forward")
    ]
    for name in ("clip", "input_forget", "activation_alpha", "activation_beta"):
        n.refuse(n.attribute(name), name)
    n.refuse(n.given(7), "peepholes")
    functions = _activations(n, len(directions))
    units = u.shape[2]
    batch_first = bool(n.attribute("layout", 0))
    sequence = x.to((0, 1, 2) if batch_first else (1, 0, 2))
    limit([*sequence.shape[:2], len(directions), u.shape[1]])
    mask = _mask(n, sequence)
    lstm = n.op == "LSTM"
    runs, lasts, cells = [], [], []
    for d, backwards in enumerate(directions):
        kernel, recurrent = (_gates(m[d], gates, units).T for m in (w, u))
        bias = np.zeros((2, len(gates) * units), w.dtype)
        if b is not None:
            bias = np.stack([_gates(part, gates, units) for part in np.split(b[d], 2)])
        options: dict[str, Any] = dict(functions[d])
        if n.op == "GRU":
            options["reset_after"] = bool(n.attribute("linear_before_reset", 0))
        weights = [kernel, recurrent, bias if options.get("reset_after") else bias.sum(0)]
        start = [_start(n, place, d, batch_first) for place in ((5, 6) if lstm else (5,))]
        call = {} if mask is None else {"mask": mask}
        if any(state is not None for state in start):
            n.refuse(None in start, "one initial state of two")
            call["initial_state"] = start
        y = n.layer(
            kind, sequence, units, return_sequences=True, return_state=True, go_backwards=backwards, call=call,
            weights=[np.ascontiguousarray(m) for m in weights], **options,
        )  # fmt: skip
        run = F.flip(y[0], 1) if backwards else y[0]
        runs.append(run if mask is None else F.where(F.expand_dims(mask, 2), run, 0.0))
        lasts.append(y[1])
        cells.append(y[2] if lstm else None)
    # [N, T, directions, H] here
    together = F.stack(runs, axis=2)
    results = [Value(together, (0, 1, 2, 3) if batch_first else (1, 2, 0, 3))]
    for states in (lasts, cells) if lstm else (lasts,):
        results.append(Value(F.stack(states, axis=1 if batch_first else 0)))
    return results


def _activations(n: Node, directions: int) -> list[dict[str, str]]:
    """The layer's arguments for each direction."""
    usual = _CELLS[n.op][2]
    chosen = [name.decode().lower() for name in n.attribute("activations", [])] or usual * directions
    if len(chosen) != len(usual) * directions:
        raise ValueError(f"activations must be {len(usual) * directions} names, got {len(chosen)}")
    n.refuse(any(name not in _ACTIVATIONS for name in chosen), "other activations")
    parts = [chosen[d * len(usual) : (d + 1) * len(usual)] for d in range(directions)]
    n.refuse(any(part[1:2] != part[2:] for part in parts if n.op == "LSTM"), "two activations of the state")
    return [{"activation": part[-1], **({"recurrent_activation": part[0]} if len(part) > 1 else {})} for part in parts]


def _mask(n: Node, sequence: Any) -> Any:
    """[N, T]: which steps count, by the lengths of the sequences; None for all."""
    if not n.given(4):
        return None
    steps = sequence.shape[1]
    n.refuse(steps is None, "sequence_lens of sequences whose length varies")
    lengths = n.value(4)
    if lengths.array is not None and not lengths.spread and bool((lengths.array == steps).all()):
        return None
    place = np.arange(steps, dtype=np.int32)[None]
    if lengths.array is not None:
        return place < lengths.to()[:, None]
    return F.less(place, F.expand_dims(lengths.to(), 1))


def _gates(m: np.ndarray, gates: list[int], units: int) -> np.ndarray:
    """Rows of ONNX's gates in this library's order."""
    parts = np.split(m, len(gates))
    return np.concatenate([parts[place] for place in gates])


def _start(n: Node, place: int, direction: int, batch_first: bool) -> Any:
    """The state [N, H] that a direction begins with; None for zeros."""
    if not n.given(place):
        return None
    value = n.real(place)
    key = (slice(None), direction) if batch_first else (direction,)
    if value.array is None:
        return F.getitem(value.to(), key)
    if not value.array.any():
        return None
    if value.spread:
        raise Unsupported("a constant initial state of a batch that varies")
    return np.ascontiguousarray(value.array[key])


OPERATORS: dict[str, Callable[[Node], Any]] = {"GRU": _recurrent, "LSTM": _recurrent, "RNN": _recurrent}
