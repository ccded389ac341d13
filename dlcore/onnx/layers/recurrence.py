"""Recurrent layers: ONNX's own operators where there is one, and step by step where not.

ONNX knows no masks but the lengths of sequences that begin at their first step, and few activations; what goes beyond
is written as the functions of one step, so many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import activations, layers
from ...layers.cells import _Cell, output_size
from ...symbolic import SymbolicTensor, flatten, map_structure
from .merging import joined, merged
from .writer import Untraceable, Value, Writer

_CELLS = {  # ONNX's operator, and the places that its gates have here
    layers.SimpleRNN: ("RNN", [0]),
    layers.LSTM: ("LSTM", [0, 3, 1, 2]),  # ONNX i o f c; here i f c o
    layers.GRU: ("GRU", [0, 1, 2]),
}


_CELL_ACTIVATIONS = {
    "relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus", "softsign": "Softsign", "tanh": "Tanh",
}  # fmt: skip


def _recurrent(
    w: Writer, layer: Any, x: Value, shape: Any, states: Sequence[Value] = (), in_order: bool = False
) -> list[Value]:
    """Its output and, with return_state, its states. in_order: outputs by time even of a layer that goes backwards."""
    if layer.stateful:
        raise ValueError(f"{layer._said} cannot be exported: it is stateful")
    functions = _activations(layer)
    if x.mask or functions is None:
        return _unrolled(w, layer, x, states, in_order)
    kind, gates = _CELLS[type(layer)]
    cell, units = layer.cell, layer.units

    def turned(m: np.ndarray) -> np.ndarray:
        parts = np.split(m, len(gates), axis=-1)
        return np.concatenate([parts[place] for place in gates], axis=-1)

    kernel, recurrent = (turned(m.numpy()).T[None] for m in (cell.kernel, cell.recurrent_kernel))
    width = len(gates) * units
    bias = np.zeros((2, width), x.dtype)
    if cell.bias is not None:
        given = cell.bias.numpy()
        bias = turned(given) if given.ndim == 2 else np.stack([turned(given), np.zeros(width, x.dtype)])
    attributes: dict[str, Any] = {
        "hidden_size": units,
        "direction": "reverse" if layer.go_backwards else "forward",
        "activations": functions,
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)
    first = [w.op("Unsqueeze", w.to(w.cast(state, layer)), w.ints(0)) for state in states]
    outputs = w.op(
        kind, w.to(x, (1, 0, 2)), w.weight(cell, "kernel", kernel), w.weight(cell, "recurrent_kernel", recurrent),
        w.weight(cell, "bias", bias.reshape(1, -1)), *(["", *first] if first else []),
        count=3 if kind == "LSTM" else 2, **attributes,
    )  # fmt: skip
    batch = x.shape[0]
    last = [Value(w.op("Squeeze", y, w.ints(0)), (batch, units), x.dtype) for y in outputs[1:]]
    result = last[0]
    if layer.return_sequences:
        sequence = w.op("Squeeze", outputs[0], w.ints(1))  # [T, N, H]
        if layer.go_backwards and not in_order:
            sequence = w.op("Slice", sequence, w.ints(-1), w.ints(-(2**31)), w.ints(0), w.ints(-1))
        result = Value(sequence, (batch, x.shape[1], units), x.dtype, (1, 0, 2))
    return [result, *last] if layer.return_state else [result]


def _activations(layer: Any) -> list[str] | None:
    """ONNX's names of a layer's activations; None where there are none, or no operator."""
    if type(layer) not in _CELLS:
        return None
    kind, cell = _CELLS[type(layer)][0], layer.cell
    functions = [] if kind == "RNN" else [cell.recurrent_activation]
    functions += [cell.activation] * (2 if kind == "LSTM" else 1)
    try:
        names = [activations.serialize(function) for function in functions]
    except ValueError:  # one's own
        return None
    known = [_CELL_ACTIVATIONS.get(name) if isinstance(name, str) else None for name in names]
    return None if None in known else known  # type: ignore[return-value]


def _unrolled(w: Writer, layer: Any, x: Value, states: Sequence[Value], in_order: bool) -> list[Value]:
    """The same by the functions of each step, which a mask may make leave the states as they are."""
    count = x.shape[1]
    if count is None:
        why = "it has a mask" if x.mask else "its cell has no operator in ONNX"
        raise ValueError(f"{layer._said} cannot be exported: {why}, and the length of its sequences varies")
    sizes = flatten(layer.cell.state_size)
    flat = list(states) or [_zeros(w, x, size) for size in sizes]
    held = _nested(layer.cell.state_size, flat)
    held = held if isinstance(held, (list, tuple)) else [held]
    fused = isinstance(layer.cell, _Cell) and layer.cell.fused_activation
    output = flat[0] if fused else _zeros(w, x, output_size(layer.cell))  # of the step before the first
    outputs = []
    for t in range(count)[:: -1 if layer.go_backwards else 1]:
        now = Value(
            w.op("Gather", w.to(x), w.constant(np.array(t, np.int64)), axis=1), (x.shape[0], *x.shape[2:]), x.dtype
        )
        try:
            found = w.functions(lambda x, states: _step(layer.cell, x, states), [now], held)
        except Untraceable as error:
            raise ValueError(
                f"{layer._said} cannot be exported: the call of its {type(layer.cell).__name__} is not made of "
                f"dlcore.functional alone ({error})"
            ) from error
        new, after = found[0], found[1:]
        if x.mask:
            here = w.op("Gather", x.mask, w.constant(np.array([t], np.int64)), axis=1)  # [N, 1]
            output = _chosen(w, here, new, output)
            zeroed = layer.zero_output_for_mask
            outputs.append(_chosen(w, here, new, _zeros(w, x, output_size(layer.cell))) if zeroed else output)
            after = [_chosen(w, here, a, b) for a, b in zip(after, flatten(held), strict=True)]
        else:
            outputs.append(new)
        held = _nested(held, after)
    result = outputs[-1]
    if layer.return_sequences:
        order = outputs[::-1] if layer.go_backwards and in_order else outputs
        longer = [w.op("Unsqueeze", w.to(y), w.ints(1)) for y in order]
        name = w.op("Concat", *longer, axis=1)
        result = Value(name, (x.shape[0], count, *result.shape[1:]), x.dtype)
    return [result, *flatten(held)] if layer.return_state else [result]


def _nested(like: Any, parts: Sequence[Value]) -> Any:
    """These values in the nesting that `like` has."""
    remaining = iter(parts)
    return map_structure(lambda _: next(remaining), like)


def _step(cell: Any, x: Any, states: Any) -> Any:
    """One step's output and new states, by the elementary functions."""
    if isinstance(cell, _Cell):
        return cell.step(x, states[0], list(states))
    if isinstance(cell, layers.StackedRNNCells):
        after = []
        for inner, state in zip(cell.cells, states, strict=True):
            x, new = _step(inner, x, state if isinstance(state, (list, tuple)) else [state])
            after.append(new)
        return x, after
    return cell.call(x, states)


def _zeros(w: Writer, x: Value, size: Any) -> Value:
    """A state of zeros for each sequence of x's batch."""
    lengths = [size] if isinstance(size, int) else list(size)
    batch = w.op("Slice", w.op("Shape", w.to(x)), w.ints(0), w.ints(1))
    shape = w.op("Concat", batch, w.ints(*lengths), axis=0)
    name = w.op("Expand", w.scalar(0.0, x.dtype), shape)
    return Value(name, (x.shape[0], *lengths), x.dtype)


def _chosen(w: Writer, here: str, new: Value, old: Value) -> Value:
    """new where a step counts, old elsewhere."""
    more = list(range(2, len(new.shape)))
    here = w.op("Unsqueeze", here, w.ints(*more)) if more else here
    return Value(w.op("Where", here, w.to(new), w.to(old)), new.shape, new.dtype)


def _bidirectional(w: Writer, layer: Any, x: Value, shape: Any, states: Sequence[Value] = ()) -> list[Value]:
    if layer.forward_layer.go_backwards and layer.return_sequences:
        raise ValueError(f"{layer._said} cannot be exported: its first layer goes backwards")
    half = len(states) // 2
    starts = (states[:half], states[half:])
    parts = (layer.forward_layer, layer.backward_layer)
    runs = [_recurrent(w, part, x, shape, start, in_order=True) for part, start in zip(parts, starts, strict=True)]
    first, second = runs[0][0], runs[1][0]
    if layer.merge_mode is None:
        together = [first, second]
    elif layer.merge_mode == "concat":
        together = [joined(w, [first, second], -1, shape)]
    else:
        kind = {"sum": "Add", "ave": "Mean", "mul": "Mul"}[layer.merge_mode]
        together = [merged(w, kind, [first, second], shape)]
    return [*together, *runs[0][1:], *runs[1][1:]]


def _time_distributed(w: Writer, layer: Any, x: Value, shape: Any) -> list[Value]:
    inner = layer.layer
    if isinstance(inner, (layers.Activation, layers.Dense, layers.Dropout)):
        return w.layer(inner, [x], [SymbolicTensor(shape, x.dtype)])
    if None in (*x.shape[1:], *shape[1:]):
        raise ValueError(f"{layer._said} cannot be exported: a length other than the batch's varies")
    if x.mask and inner._call_signature.has_mask:
        raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for its layer with a mask")
    flat = Value(w.op("Reshape", w.to(x), w.ints(-1, *x.shape[2:])), (None, *x.shape[2:]), x.dtype)
    y = w.layer(inner, [flat], [SymbolicTensor((None, *shape[2:]), x.dtype)])[0]
    return [Value(w.op("Reshape", w.to(y), w.ints(-1, *shape[1:])), shape, y.dtype)]


LAYERS = {
    layers.Bidirectional: _bidirectional,
    layers.GRU: _recurrent,
    layers.LSTM: _recurrent,
    layers.RNN: _recurrent,
    layers.SimpleRNN: _recurrent,
    layers.TimeDistributed: _time_distributed,
}
