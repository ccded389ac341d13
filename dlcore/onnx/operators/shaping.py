"""Shapes: flattening, reshaping, moving axes, cutting, joining and padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .elementwise import both
from .graph import REAL, Node, Value, layer_dtype, limit
from .reduction import axes_of


def _flattened(n: Node, x: Value) -> Value:
    """[N, ...] as [N, K]; of an image in another order than ONNX's, with a note of where each column lies."""
    tensor = layers.Flatten(dtype=layer_dtype(x))(x.tensor) if x.unflat is None else x.to()
    value = Value(tensor)
    if x.order != tuple(range(len(x.order))) and None not in x.tensor.shape[1:] and x.order[0] == 0:
        lengths = x.tensor.shape[1:]
        places = np.arange(math.prod(lengths)).reshape(lengths)
        value.columns = places.transpose([axis - 1 for axis in x.order[1:]]).ravel()
        value.unflat = x
        return value
    return Value(layers.Flatten(dtype=layer_dtype(x))(x.to()))


def _flatten(n: Node) -> Value:
    x = n.value(0)
    n.refuse(not x.shape, "a scalar")
    axis = n.attribute("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    if axis == 1 and len(x.shape) > 1 and x.dtype in REAL:
        return x if len(x.shape) == 2 else _flattened(n, x)
    rows, columns = x.shape[:axis], x.shape[axis:]
    n.refuse(None in rows and None in columns, "lengths that vary on both sides")
    return Value(
        F.reshape(x.to(), (-1 if None in rows else math.prod(rows), -1 if None in columns else math.prod(columns)))
    )


def _reshape(n: Node) -> Value:
    x = n.value(0)
    target = n.lengths(1)
    if not n.attribute("allowzero", 0):
        target = [x.shape[i] if length == 0 else length for i, length in enumerate(target)]
    if any(length is not None and length < -1 for length in target):
        raise ValueError(f"shape must hold no negative length but one -1, got {target}")
    known = None if None in x.shape[1:] else math.prod(x.shape[1:])
    rest = target[1:]
    batch = (
        bool(x.shape)
        and bool(target)
        and (target[0] == x.shape[0] or (target[0] == -1 and None not in rest and math.prod(rest) == known))
    )
    if batch and x.dtype in REAL and None not in rest and known is not None:
        if len(rest) == 1 and rest[0] in (-1, known) and len(x.shape) > 2:
            return _flattened(n, x)
        return Value(layers.Reshape(rest, dtype=layer_dtype(x))(x.to()))
    if target.count(None) == x.shape.count(None) == 1 and -1 in target:  # the same one, so that the rest is known
        whole, part = (math.prod(m for m in lengths if m not in (None, -1)) for lengths in (x.shape, target))
        if not part or whole % part:
            raise ValueError(f"shape {target} does not fit {list(x.shape)}")
        target = [whole // part if length == -1 else length for length in target]
    n.refuse(target.count(None) + target.count(-1) > 1, "several lengths that vary")
    return Value(F.reshape(x.to(), [-1 if length is None else length for length in target]))


def _transpose(n: Node) -> Value:
    x = n.value(0).flat()
    rank = len(x.shape)
    order = n.attribute("perm") or list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise ValueError(f"perm must be an order of {rank} axes, got {order}")
    return Value(x.tensor, [x.order[axis] for axis in order])


def _squeeze(n: Node) -> Value:
    x = n.value(0)
    if n.constant(1) is None:
        n.refuse(None in x.shape, "lengths that vary")
        axes = [i for i, length in enumerate(x.shape) if length == 1]
    else:
        axes = axes_of(n, len(x.shape))
    return Value(F.squeeze(x.to(), axes)) if axes else x


def _unsqueeze(n: Node) -> Value:
    x = n.value(0)
    return Value(F.expand_dims(x.to(), n.numbers(1)))


def _concat(n: Node) -> Value:
    values = [n.value(i) for i in range(len(n.inputs))]
    rank = len(values[0].shape)
    axis = n.axis(rank, 0)
    order = next(v.order for v in values if v.array is None)
    order = order if all(v.unflat is None for v in values) else tuple(range(rank))
    parts = [v.to(order) for v in values]
    if all(v.array is None for v in values) and all(v.dtype in REAL for v in values) and len(values) > 1:
        return Value(n.layer(layers.Concatenate, parts, order[axis]), order)
    return Value(F.concatenate(parts, order[axis]), order)


def _slice(n: Node) -> Value:
    x = n.value(0)
    rank = len(x.shape)
    starts, ends = n.numbers(1), n.numbers(2)
    axes = n.numbers(3, list(range(len(starts))))
    key: list[Any] = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, n.numbers(4, [1] * len(starts)), strict=True):
        length = x.shape[axis]
        if length is None:
            n.refuse(step < 0, "a negative step along a length that varies")
            key[axis] = slice(start, end, step)
        elif step > 0:
            key[axis] = slice(*slice(start, end, step).indices(length))
        else:
            first, last, _ = slice(start, end if end >= -length else None, step).indices(length)
            key[axis] = slice(first, None if last < 0 else last, step)
    return Value(F.getitem(x.to(), tuple(key)))


def part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """Elements start … stop − 1 along an axis."""
    return F.getitem(x, (*(slice(None),) * axis, slice(start, stop)))


def _split(n: Node) -> list[Value]:
    x = n.value(0)
    axis = n.axis(len(x.shape), 0)
    length = x.shape[axis]
    sizes = n.numbers(1)
    if sizes is None:
        n.refuse(length is None, "a length that varies")
        count = n.attribute("num_outputs", len(n.proto.output))
        each = -(-length // count)
        sizes = [each] * (count - 1) + [length - each * (count - 1)]
    if min(sizes, default=0) < 0 or (length is not None and sum(sizes) != length):
        raise ValueError(f"split {sizes} does not fit a length of {length}")
    ends = np.cumsum(sizes).tolist()
    tensor = x.to()
    return [Value(part(tensor, axis, end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def _pad(n: Node) -> Value:
    x = n.number().flat()
    mode = n.attribute("mode", "constant")
    rank = len(x.shape)
    pads = n.numbers(1)
    axes = [axis % rank for axis in n.numbers(3, list(range(rank)))]
    if len(pads) != 2 * len(axes):
        raise ValueError(f"pads must be {2 * len(axes)} numbers, got {len(pads)}")
    widths = {x.order[axis]: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    lengths = x.tensor.shape
    limit([(length or 1) + max(sum(widths.get(axis, (0, 0))), 0) for axis, length in enumerate(lengths)])
    tensor = x.tensor
    for axis, (before, after) in widths.items():
        if min(before, after) < 0:
            tensor = part(tensor, axis, max(-before, 0), min(after, 0) or None)
        if mode != "constant":
            tensor = _continued(n, tensor, axis, max(before, 0), max(after, 0), mode)
    if mode == "constant" and any(max(width) > 0 for width in widths.values()):
        value = n.constant(2)
        fill = 0.0 if value is None or value.size == 0 else float(value.reshape(()))
        around = [tuple(max(side, 0) for side in widths.get(axis, (0, 0))) for axis in range(rank)]
        tensor = F.pad(tensor, around, fill)
    return Value(tensor, x.order)


def _continued(n: Node, x: Any, axis: int, before: int, after: int, mode: str) -> Any:
    """x with so many elements more on both sides, taken from itself."""
    n.refuse(mode not in ("edge", "reflect", "wrap"), f"mode {mode!r}")
    n.refuse(max(before, after) > 4096, f"pads of {max(before, after)}")
    room = None if x.shape[axis] is None or mode == "edge" else x.shape[axis] - (mode == "reflect")
    n.refuse(room is not None and max(before, after) > room, f"pads beyond the {x.shape[axis]} elements that there are")
    if mode == "edge":
        first, last = [part(x, axis, 0, 1)] * before, [part(x, axis, -1, None)] * after
    elif mode == "reflect":
        first = [F.flip(part(x, axis, 1, before + 1), axis)] if before else []
        last = [F.flip(part(x, axis, -1 - after, -1), axis)] if after else []
    else:
        first = [part(x, axis, -before, None)] if before else []
        last = [part(x, axis, 0, after)] if after else []
    return F.concatenate([*first, x, *last], axis) if first or last else x


def _expand(n: Node) -> Value:
    x = n.value(0)
    target = n.lengths(1)
    place = len(x.shape) - len(target)
    for i, length in enumerate(target):  # a length that is not known can only be the one that x has there
        n.refuse(length is None and (place + i < 0 or x.shape[place + i] is not None), "a length that varies")
    wanted = tuple(1 if length is None else length for length in target)
    shape = np.broadcast_shapes(tuple(1 if length is None else length for length in x.shape), wanted)
    limit(shape)
    if None not in x.shape:
        return Value(F.broadcast_to(x.to(), shape))
    ones = np.ones(wanted, x.dtype)
    return Value(both(x.to(), ones) if x.dtype.kind == "b" else F.multiply(x.to(), ones))


def _tile(n: Node) -> Value:
    x = n.value(0)
    tensor = x.to()
    for axis, count in enumerate(n.numbers(1)):
        if count < 1:
            raise ValueError(f"repeats must be positive, got {count}")
        n.refuse(count > 4096, f"{count} repeats")
        tensor = F.concatenate([tensor] * count, axis) if count > 1 else tensor
        limit(tensor.shape)
    return Value(tensor)


def _triangle(n: Node) -> Value:
    """The upper or lower triangle of matrices."""
    x = n.value(0)
    rows, columns = x.shape[-2:]
    n.refuse(rows is None or columns is None, "lengths that vary")
    diagonal = (n.numbers(1) or [0])[0]
    all_true = np.ones((rows, columns), bool)
    chosen = np.triu(all_true, diagonal) if n.attribute("upper", 1) else np.tril(all_true, diagonal)
    return Value(both(x.to(), chosen) if x.dtype.kind == "b" else F.where(chosen, x.to(), 0))


def _center(n: Node) -> Value:
    x = n.number()
    rank = len(x.shape)
    tensor = x.to()
    axes = [axis % rank for axis in n.attribute("axes", list(range(rank)))]
    widths = [(0, 0)] * rank
    for axis, wanted in zip(axes, n.numbers(1), strict=True):
        length = x.shape[axis]
        n.refuse(length is None, "a length that varies")
        if wanted < length:
            start = (length - wanted) // 2
            tensor = part(tensor, axis, start, start + wanted)
        else:
            widths[axis] = ((wanted - length) // 2, wanted - length - (wanted - length) // 2)
    limit([length and length + sum(width) for length, width in zip(tensor.shape, widths, strict=True)])
    return Value(F.pad(tensor, widths) if any(map(sum, widths)) else tensor)


def _depth_to_space(n: Node) -> Value:
    x = n.number()
    size = n.attribute("blocksize")
    batch, channels, height, width = x.shape
    n.refuse(None in (channels, height, width), "images whose size varies")
    first = -1 if batch is None else batch
    depth = channels // size**2
    if n.attribute("mode", "DCR") == "DCR":
        y = F.transpose(F.reshape(x.to(), (first, size, size, depth, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        y = F.transpose(F.reshape(x.to(), (first, depth, size, size, height, width)), (0, 1, 4, 2, 5, 3))
    return Value(F.reshape(y, (first, depth, height * size, width * size)))


def _space_to_depth(n: Node) -> Value:
    x = n.number()
    size = n.attribute("blocksize")
    batch, channels, height, width = x.shape
    n.refuse(None in (channels, height, width), "images whose size varies")
    first = -1 if batch is None else batch
    y = F.reshape(x.to(), (first, channels, height // size, size, width // size, size))
    y = F.transpose(y, (0, 3, 5, 1, 2, 4) if n.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4))
    return Value(F.reshape(y, (first, channels * size**2, height // size, width // size)))


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "CenterCropPad": _center,
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
