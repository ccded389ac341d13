"""Convolutions of sequences, images and volumes, and their transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .graph import Node, Value, layer_dtype, limit
from .windows import Windows, as_image, flat_image, from_image, windows


def _conv(n: Node) -> Value:
    x, kernel, bias = n.real(), n.constant(1), n.constant(2)
    size = list(kernel.shape[2:])
    if list(n.attribute("kernel_shape", size)) != size:
        raise ValueError(f"kernel_shape is {n.attribute('kernel_shape')}, W has {size}")
    w = windows(n, size, x)
    limit([x.shape[0], kernel.shape[0], *((m or 1) + sum(p) for m, p in zip(w.lengths, w.padding, strict=True))])
    if len(size) == 3:
        return _volume(n, x, kernel, bias, w)
    if len(size) == 1:
        w, kernel = flat_image(w), kernel[..., None]
    return from_image(_image(n, as_image(x), kernel, bias, w), len(x.shape))


def _image(n: Node, x: Any, kernel: np.ndarray, bias: np.ndarray | None, w: Windows) -> Any:
    """Conv2D on an image [N, H, W, C], the kernel as ONNX has it."""
    both = max(w.strides) > 1 and max(w.dilations) > 1  # the layer has one or the other
    weights = [np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))] + ([] if bias is None else [bias])
    y = n.layer(
        layers.Conv2D, x, kernel.shape[0], w.size, strides=1 if both else w.strides, padding=w.padding,
        dilation_rate=w.dilations, groups=n.attribute("group", 1), use_bias=bias is not None, weights=weights,
    )  # fmt: skip
    return F.getitem(y, (slice(None), *(slice(None, None, s) for s in w.strides))) if both else y


def _volume(n: Node, x: Value, kernel: np.ndarray, bias: np.ndarray | None, w: Windows) -> Value:
    """As a sum over the kernel's depth of convolutions of the slices, which lie side by side as a batch."""
    n.refuse(None in w.lengths, "volumes whose size varies")
    n.refuse(w.size[0] > 16, f"a kernel {w.size[0]} slices deep")
    tensor = F.pad(x.to((0, 4, 1, 2, 3)), [(0, 0), (w.before[0], w.after[0]), (0, 0), (0, 0), (0, 0)])
    depth = w.count(0)
    of_slices = Windows(*(part[1:] for part in w))
    total = None
    for i in range(w.size[0]):
        start = i * w.dilations[0]
        stop = start + (depth - 1) * w.strides[0] + 1
        part = F.getitem(tensor, (slice(None), slice(start, stop, w.strides[0])))
        image = F.reshape(part, (-1, *tensor.shape[2:]))
        y = _image(n, image, np.ascontiguousarray(kernel[:, :, i]), bias if i == 0 else None, of_slices)
        total = y if total is None else total + y
    assert total is not None
    return Value(F.reshape(total, (-1, depth, *total.shape[1:])), (0, 4, 1, 2, 3))


def _conv_transpose(n: Node) -> Value:
    x, kernel, bias = n.real(), n.constant(1), n.constant(2)
    rank = kernel.ndim - 2
    n.refuse(rank not in (1, 2), f"{rank} spatial axes instead of one or two")
    if len(x.shape) != rank + 2:
        raise ValueError(f"X has {len(x.shape)} axes, W {kernel.ndim}")
    size = list(kernel.shape[2:])
    strides, dilations = list(n.attribute("strides", [1] * rank)), list(n.attribute("dilations", [1] * rank))
    extra = list(n.attribute("output_padding", [0] * rank))
    pads = list(n.attribute("pads", [0] * (2 * rank)))
    if {len(strides), len(dilations), len(extra)} != {rank} or len(pads) != 2 * rank:
        raise ValueError("strides, dilations, output_padding and pads must fit an image")
    kind = n.attribute("auto_pad", "NOTSET")
    wanted = n.attribute("output_shape")
    lengths = x.shape[2:]
    if kind.startswith("SAME") and wanted is None:
        n.refuse(None in lengths, f"auto_pad {kind} on images whose size varies")
        wanted = [length * s for length, s in zip(lengths, strides, strict=True)]
    if wanted is not None:
        n.refuse(None in lengths, "output_shape on images whose size varies")
        full = [
            (length - 1) * s + e + d * (k - 1) + 1
            for length, s, e, d, k in zip(lengths, strides, extra, dilations, size, strict=True)
        ]
        total = [f - w for f, w in zip(full, wanted[-rank:], strict=True)]
        extra = [e + max(-t, 0) for e, t in zip(extra, total, strict=True)]
        half, rest = [max(t, 0) // 2 for t in total], [max(t, 0) - max(t, 0) // 2 for t in total]
        pads = [*half, *rest] if kind == "SAME_UPPER" else [*rest, *half]
    elif kind == "VALID":
        pads = [0] * (2 * rank)
    n.refuse(min(pads) < 0, "negative pads")
    w = Windows(size, strides, dilations, pads[:rank], pads[rank:], list(lengths))
    if rank == 1:
        w, kernel, extra = flat_image(w), kernel[..., None], [*extra, 0]
    n.refuse(max(w.strides) > 1 and max(w.dilations) > 1, "strides and dilations that both exceed 1")
    n.refuse(any(e >= s and e for e, s in zip(extra, w.strides, strict=True)), "output_padding not below strides")
    image = as_image(x)
    limit(
        [
            image.shape[0],
            kernel.shape[1],
            *(m and m * s + k for m, s, k in zip(image.shape[1:3], w.strides, w.size, strict=True)),
        ]
    )
    groups = n.attribute("group", 1)
    if groups == 1:
        return from_image(_spread(n, image, kernel, bias, w, extra), rank + 2)
    if image.shape[3] % groups or kernel.shape[0] != image.shape[3]:
        raise ValueError(f"group {groups} does not fit {image.shape[3]} channels and W {list(kernel.shape)}")
    each = image.shape[3] // groups
    parts = []
    for g in range(groups):
        place = slice(g * each, (g + 1) * each)
        own = None if bias is None else bias[g * kernel.shape[1] : (g + 1) * kernel.shape[1]]
        parts.append(_spread(n, F.getitem(image, (..., place)), kernel[place], own, w, extra))
    return from_image(F.concatenate(parts, -1), rank + 2)


def _spread(n: Node, x: Any, kernel: np.ndarray, bias: np.ndarray | None, w: Windows, extra: list[int]) -> Any:
    """Conv2DTranspose of an image [N, H, W, C] without padding, then cut."""
    weights = [np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))] + ([] if bias is None else [bias])
    y = n.layer(
        layers.Conv2DTranspose, x, kernel.shape[1], w.size, strides=w.strides, padding="valid", output_padding=extra,
        dilation_rate=w.dilations, use_bias=bias is not None, weights=weights,
    )  # fmt: skip
    return layers.Cropping2D(w.padding, dtype=layer_dtype(Value(x)))(y) if any(map(any, w.padding)) else y


OPERATORS: dict[str, Callable[[Node], Any]] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
