"""Where arrays of a recorded step lie (capture.py): images in the lanes of vectors, from one convolution to the next.

An engine may compute a convolution of small images on L images at a time, laid out as [N / L, H, W, C, L]. Alone, such
a call turns its arrays on the way in and out. In a recorded step the arrays between its calls can stay turned: to
pooling they are N / L images of C·L channels, and elementwise work sees no difference. Values and the order of all sums
are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .capture import Buffer, Call, View
from .interface import Backend

_CONVOLUTIONS = {"conv2d": ("x", "y"), "conv2d_backward_input": ("dx", "dz"), "conv2d_backward_weight": ("x", "dz")}
_POOLS = {"avg_pool2d": ("x", "y"), "max_pool2d": ("x", "y")}
_POOLS_BACKWARD = {"avg_pool2d_backward": ("dx", "dy"), "max_pool2d_backward": ("dx", "dy")}  # (large, small), too
_ELEMENTWISE = {"activation": ("x", "y"), "activation_backward": ("dy", "x", "y", "dx"), "fill": ("y",)}


def images_in_lanes(calls: list[Call], results: Iterable[Any], engine: Backend) -> list[Call]:
    """The calls with arrays between convolutions turned, where the engine computes on vectors of images.

    Args:
        calls: a recorded step; left as it is. results: Views of what is read afterwards, which stay as they are.
    """
    lanes = max((engine.images_in_lanes(call.name, call.arguments) for call in calls), default=0)
    if not lanes:
        return calls
    turned = _turned_buffers(calls, {value.buffer for value in results if type(value) is View}, lanes, engine)
    return [part for call in calls for part in _rewritten(call, turned, lanes)] if turned else calls


def _turned_buffers(calls: list[Call], kept: set[Buffer], lanes: int, engine: Backend) -> set[Buffer]:
    """Those that no call needs as they are."""
    views = [value for call in calls for value in call.arguments.values() if type(value) is View]
    shapes = {view.buffer: view.shape for view in views}
    others = {view.buffer for view in views if view.shape != shapes[view.buffer] or not _is_images(view, lanes)}
    buffers = shapes.keys() - others - kept
    while True:
        left = set(buffers)
        for call in calls:
            left -= _hindered(call, left, lanes, engine)
        if left == buffers:
            return buffers
        buffers = left


def _hindered(call: Call, turned: set[Buffer], lanes: int, engine: Backend) -> set[Buffer]:
    """Buffers among `turned` that this call needs as they are."""
    views = {key: value for key, value in call.arguments.items() if type(value) is View}
    used = {view.buffer for view in views.values()}
    if call.name in _CONVOLUTIONS and engine.images_in_lanes(call.name, call.arguments) == lanes:
        return used - {views[key].buffer for key in _CONVOLUTIONS[call.name] if key in views}
    small = _small_side(call)
    if small is not None:
        large = [call.arguments[_pool_sides(call)[0]], *(views[key] for key in ("index", "activated") if key in views)]
        if all(type(v) is View and v.buffer in turned for v in large):
            fits = type(small) is View and _is_images(small, lanes)
            return set() if fits else used  # the small side may be turned by a copy
        return used
    keys = _ELEMENTWISE.get(call.name)
    arrays = [] if keys is None else [call.arguments[key] for key in keys if call.arguments[key] is not None]
    return set() if arrays and all(type(v) is View and v.buffer in turned for v in arrays) else used


def _pool_sides(call: Call) -> tuple[str, str]:
    return _POOLS.get(call.name) or _POOLS_BACKWARD[call.name]


def _small_side(call: Call) -> Any:
    return call.arguments[_pool_sides(call)[1]] if call.name in _POOLS or call.name in _POOLS_BACKWARD else None


def _is_images(view: View, lanes: int) -> bool:
    """Whether it is a whole buffer that holds [N, H, W, C], N a multiple of the lanes."""
    whole = view.offset == 0 and int(np.prod(view.shape)) * view.dtype.itemsize == view.buffer.nbytes
    contiguous = view.strides == np.empty(view.shape, view.dtype).strides
    return whole and contiguous and len(view.shape) == 4 and view.shape[0] > 0 and view.shape[0] % lanes == 0


def _in_lanes(view: View, lanes: int, buffer: Buffer | None = None, joined: bool = True) -> View:
    """The same images with the lanes last: [N / L, H, W, C·L] if joined, else [N / L, H, W, C, L]."""
    n, h, w, c = view.shape
    shape = (n // lanes, h, w, c * lanes) if joined else (n // lanes, h, w, c, lanes)
    return View(buffer or view.buffer, 0, np.empty(shape, view.dtype))


def _rewritten(call: Call, turned: set[Buffer], lanes: int) -> list[Call]:
    """A call on turned arrays, with a copy before or after it where its small side stays as it is."""
    views = {key: value for key, value in call.arguments.items() if type(value) is View and value.buffer in turned}
    if not views:
        return [call]
    joined = call.name not in _CONVOLUTIONS
    arguments = call.arguments | {key: _in_lanes(view, lanes, joined=joined) for key, view in views.items()}
    small = _small_side(call)
    if small is None or small.buffer in turned:
        return [Call(call.name, arguments)]
    key = _pool_sides(call)[1]
    buffer = Buffer(-1, small.buffer.nbytes)
    arguments[key] = _in_lanes(small, lanes, buffer)
    n, h, w, c = small.shape
    lying = View(small.buffer, 0, np.empty((n // lanes, lanes, h * w * c), small.dtype))
    standing = View(buffer, 0, np.empty((n // lanes, h * w * c, lanes), small.dtype).transpose(0, 2, 1))
    if call.name in _POOLS:
        return [Call(call.name, arguments), Call("copy", {"x": standing, "y": lying})]
    return [Call("copy", {"x": lying, "y": standing}), Call(call.name, arguments)]
