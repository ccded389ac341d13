"""Rewrites of recorded calls (capture.py): the same results with less work."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .capture import Buffer, Call, View
from .interface import FUSED_ACTIVATIONS, Array, Backend

LARGEST_CONSTANT = 64 << 10  # bytes
_PLAIN = frozenset(("fill", "copy", "unary", "binary", "reduce"))  # they write y and read the others
_ONLY_READ = frozenset(("a", "b", "x", "dy", "dz"))  # arguments that no primitive writes


def overwrite_gradients(calls: list[Call], gradients: Sequence[Array], engine: Backend) -> list[Call]:
    """Let a step start from gradients of zero without anybody filling them with zeros.

    The first call that adds to a gradient writes to it instead; where that cannot be, the gradient is filled before.

    Args:
        calls: a recorded step. gradients: arrays that overlap no other, each of which the step adds to.
    """
    ranges = [(*_bounds(a, engine), a) for a in gradients if a.size]
    fresh = {start: array for start, _, array in ranges}

    def touched(value: Any) -> list[int]:
        if not isinstance(value, engine.array_type) or not value.size:
            return []
        low, high = _bounds(value, engine)
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


def _bounds(array: Array, engine: Backend) -> tuple[int, int]:
    """The lowest address of its elements, and the one behind the highest."""
    low = high = engine.address(array)
    for length, stride in zip(array.shape, array.strides, strict=True):
        low += min(0, (length - 1) * stride)
        high += max(0, (length - 1) * stride)
    return low, high + array.itemsize


def fill(array: Array, value: float = 0.0) -> Call:
    return Call("fill", {"y": array, "value": value})


class _Draft:
    """A step under revision. Calls keep their places, and those that go leave a gap, so that one change costs no look
    at the others.

    Attributes:
        calls: copies, in order; None is a gap. uses: the places that use a buffer, in order.
        kept: buffers that are read after the step.
    """

    def __init__(self, calls: list[Call], results: Sequence[Any], engine: Backend) -> None:
        self.calls: list[Any] = [Call(call.name, dict(call.arguments), call.function) for call in calls]
        self.kept = {value.buffer for value in results if type(value) is View}
        self.engine = engine
        self.uses: defaultdict[Buffer, list[int]] = defaultdict(list)
        self._used: list[set[Buffer]] = [set() for _ in calls]
        self.note(*range(len(calls)))

    def note(self, *places: int) -> None:
        """Take note of what was changed at these places."""
        for i in places:
            call = self.calls[i]
            now = set() if call is None else {v.buffer for v in call.arguments.values() if type(v) is View}
            for buffer in self._used[i] - now:
                self.uses[buffer].remove(i)
            for buffer in now - self._used[i]:
                insort(self.uses[buffer], i)
            self._used[i] = now

    def move(self, i: int, j: int) -> None:
        """Put call i in the place of call j."""
        self.calls[j], self.calls[i] = self.calls[i], None
        self.note(i, j)

    def drop(self, j: int, into: int) -> None:
        """Take call j out, which another has taken over."""
        self.calls[j] = None
        self.note(j, into)

    def following(self, i: int) -> int | None:
        """The place of the next call."""
        return next((j for j in range(i + 1, len(self.calls)) if self.calls[j] is not None), None)

    def between(self, i: int, j: int) -> list[Call]:
        return [call for call in self.calls[i + 1 : j] if call is not None]

    def sweep(self, fuse: Callable[[_Draft, int], bool]) -> None:
        """Try every call until nothing more changes."""
        changed = True
        while changed:
            changed = False
            for i in range(len(self.calls)):
                while self.calls[i] is not None and fuse(self, i):
                    changed = True

    def finished(self) -> list[Call]:
        return [call for call in self.calls if call is not None]


def fuse_inference(calls: list[Call], results: Sequence[Any], constant: dict[int, Any], engine: Backend) -> list[Call]:
    """Fewer passes over memory for a step that only reads its weights.

    Batch normalisation goes into the weights before it (Jacob et al. 2018, section 3.2), an activation into the
    epilogue, and, where the engine has that, so does the addition of a residual; a convolution takes over a
    pooling.

    Args:
        calls: a recorded step; left as it is. results: Views of what is read afterwards.
        constant: the arrays that do not change, by id; those of folded weights are added, and all kept, or another
            array could come to the id of one that is gone.
    """
    draft = _Draft(calls, results, engine)
    draft.sweep(lambda draft, i: _fuse(draft, i, constant))
    draft.sweep(lambda draft, i: _fuse_pool(draft, i, constant))
    return draft.finished()


def fuse_training(calls: list[Call], results: Sequence[Any], engine: Backend) -> list[Call]:
    """Fewer passes over memory for a step that trains, with the same bits.

    The training form of batch normalisation takes over the activation after it and, where the engine has that, the
    addition of a residual; its backward takes over that of a ReLU, of which it then needs no output. The backward of an
    average-pooling takes over that of the activation in front of it. The backward of a ReLU in front of a max-pooling
    changes places with that of the pooling, whose side it has less to do on. The gradient of a convolution's input
    takes over, where the engine has that, the addition and the backward of a ReLU after it.

    Args:
        calls: a recorded step; left as it is. results: Views of what is read afterwards.
    """
    draft = _Draft(calls, results, engine)
    for fuse in (_fuse_forward, _fuse_backward, _fuse_pool_backward, _swap_backward, _fuse_gradient):
        draft.sweep(fuse)
    return draft.finished()


def _fuse_forward(draft: _Draft, i: int) -> bool:
    """Let batch normalisation i take over an activation or an addition; whether it could."""
    calls, uses, engine = draft.calls, draft.uses, draft.engine
    norm = calls[i].arguments
    if calls[i].name != "batchnorm" or norm["activation"] != "linear":
        return False
    y = norm["y"]
    if type(y) is not View or y.buffer in draft.kept or len(uses[y.buffer]) != 2:
        return False
    j = uses[y.buffer][1]
    after = calls[j].arguments
    target = after.get("y")
    if type(target) is not View or uses[target.buffer][0] != j or _size(target) != _size(y):
        return False
    if _touched([calls[i]], engine) & _touched(draft.between(i, j), engine):
        return False  # it cannot wait until then
    if calls[j].name == "activation" and after["kind"] in FUSED_ACTIVATIONS:
        norm["activation"] = after["kind"]
    elif calls[j].name == "binary" and after["op"] == "add" and "residual" in engine.fuses.get("batchnorm", ()):
        residual = after["b"] if _is(after["a"], y) else after["a"]
        if "residual" in norm or type(residual) is not View or _is(residual, y) or not _is_same_block(residual, y):
            return False
        norm["residual"] = View(residual.buffer, residual.offset, y)
    else:
        return False
    norm["y"] = View(target.buffer, target.offset, y)
    draft.move(i, j)
    return True


def _fuse_backward(draft: _Draft, i: int) -> bool:
    """Let the batch normalisation that follows take over the backward of its ReLU, call i; whether it could."""
    calls, uses = draft.calls, draft.uses
    if "relu_beta" not in draft.engine.fuses.get("batchnorm_backward", ()) or calls[i].name != "activation_backward":
        return False
    relu, j = calls[i].arguments, draft.following(i)
    y, dz = relu["y"], relu["dx"]
    if relu["kind"] != "relu" or type(y) is not View or type(dz) is not View or j is None:
        return False
    if calls[j].name != "batchnorm_backward" or dz.buffer in draft.kept or uses[dz.buffer] != [i, j]:
        return False
    forward, backward = calls[uses[y.buffer][0]], calls[j].arguments
    if forward.name != "batchnorm" or "residual" in forward.arguments or forward.arguments["activation"] != "relu":
        return False
    if not _is(backward["dz"], dz) or not _is_same_block(dz, relu["dy"]):
        return False
    if not all(_equal(forward.arguments[name], backward[name]) for name in ("x", "gamma", "mean", "inv_std")):
        return False
    backward["dz"] = View(relu["dy"].buffer, relu["dy"].offset, backward["dz"])
    backward["relu_beta"] = forward.arguments["beta"]
    draft.drop(i, into=j)
    return True


def _fuse_pool_backward(draft: _Draft, i: int) -> bool:
    """Let the backward of an average-pooling, call i, take over that of the activation before it; whether it could."""
    calls = draft.calls
    if calls[i].name != "avg_pool2d_backward" or "activated" not in draft.engine.fuses.get(calls[i].name, ()):
        return False
    j = draft.following(i)
    if j is None or calls[j].name != "activation_backward" or "activated" in calls[i].arguments:
        return False
    pool, after = calls[i].arguments, calls[j].arguments
    dx, dy, dz, y = pool["dx"], pool["dy"], after["dx"], after["y"]
    if not all(type(v) is View for v in (dx, dy, dz, y)) or after["kind"] not in FUSED_ACTIVATIONS[1:]:
        return False
    if dx.buffer in draft.kept or draft.uses[dx.buffer] != [i, j] or not _is(after["dy"], dx):
        return False
    covered = tuple(size * windows for size, windows in zip(pool["size"], dy.shape[1:3], strict=True))
    if covered != dx.shape[1:3] or pool["stride"] != pool["size"] or any(pool["padding"]):
        return False
    if not all(_is_same_block(v, dx) for v in (after["dy"], dz, y)):
        return False
    pool["dx"] = View(dz.buffer, dz.offset, dx)
    pool["kind"], pool["activated"] = after["kind"], View(y.buffer, y.offset, dx)
    draft.drop(j, into=i)
    return True


def _swap_backward(draft: _Draft, i: int) -> bool:
    """Let the backward of a max-pooling, call i, and that of the ReLU before it change places; whether they could.

    An element that wins its window is its maximum: what it lets through can be told from the pooled output, which is
    smaller, and the output of the ReLU need not be kept.
    """
    calls, uses = draft.calls, draft.uses
    if calls[i].name != "max_pool2d_backward":
        return False
    j = draft.following(i)
    if j is None or calls[j].name != "activation_backward":
        return False
    pool, relu = calls[i].arguments, calls[j].arguments
    dx, dy, index = pool["dx"], pool["dy"], pool["index"]
    if relu["kind"] != "relu" or not all(type(v) is View for v in (dx, dy, index, relu["dy"], relu["y"], relu["dx"])):
        return False
    if dx.buffer in draft.kept or uses[dx.buffer] != [i, j] or not _is_same_block(relu["dy"], dx):
        return False
    first = uses[index.buffer][0]
    forward = calls[first]
    y = forward.arguments.get("y")
    if forward.name != "max_pool2d" or type(y) is not View or not _equal(forward.arguments["index"], index):
        return False
    if not _is_same_block(forward.arguments["x"], relu["y"]) or not _is(relu["y"], forward.arguments["x"]):
        return False
    written = [use for use in uses[y.buffer] if first < use < i and _is(calls[use].arguments.get("y"), y)]
    if written or not _is_same_block(y, dy) or not _is_same_block(relu["dx"], dx):
        return False
    between = View(dx.buffer, 0, dy)
    pool["dy"], pool["dx"] = between, View(relu["dx"].buffer, relu["dx"].offset, dx)
    relu |= {"dy": dy, "x": None, "y": View(y.buffer, y.offset, dy), "dx": between}
    calls[i], calls[j] = calls[j], calls[i]
    draft.note(i, j)
    return True


def _fuse_gradient(draft: _Draft, i: int) -> bool:
    """Let the gradient of a convolution's input, call i, take over what is done to it next; whether it could."""
    calls, uses, engine = draft.calls, draft.uses, draft.engine
    name, product = calls[i].name, calls[i].arguments
    if name != "conv2d_backward_input" or name not in engine.fuses or "gate" in product:
        return False
    dx = product["dx"]
    if type(dx) is not View or dx.buffer in draft.kept or len(uses[dx.buffer]) != 2:
        return False
    if engine.images_in_lanes(name, product):
        return False
    j = uses[dx.buffer][1]
    after = calls[j].arguments
    if calls[j].name == "binary" and after["op"] == "add" and "residual" not in product:
        taken, other, target = "residual", after["b"] if _is(after["a"], dx) else after["a"], after["y"]
    elif calls[j].name == "activation_backward" and after["kind"] == "relu" and _is(after["dy"], dx):
        taken, other, target = "gate", after["y"], after["dx"]
    else:
        return False
    if not _is_same_block(other, dx) or not _is_same_block(target, dx) or _is(other, dx):
        return False
    if uses[target.buffer][0] != j or uses[other.buffer][0] > i:
        return False
    between = {calls[use].name for use in uses[other.buffer] if i < use < j}
    if between - {"conv2d_backward_weight"}:  # which only reads images
        return False
    product["dx"] = View(target.buffer, target.offset, dx)
    product.setdefault("residual", None)
    product[taken] = View(other.buffer, other.offset, dx)
    draft.drop(j, into=i)
    return True


def split_constant(calls: list[Call], results: Sequence[Any], engine: Backend) -> tuple[list[Call], list[Call]]:
    """The calls that do the same in every run, such as those that spread the gradient of a mean, and the others.

    Only what is small counts: the memory of a constant cannot be used again.

    Args:
        calls: a recorded step. results: Views of what is read afterwards.
    """
    kept = {value.buffer for value in results if type(value) is View}
    uses = [(key, value.buffer) for call in calls for key, value in call.arguments.items() if type(value) is View]
    writers = Counter(buffer for key, buffer in uses if key not in _ONLY_READ)
    known: set[Buffer] = set()
    once: list[Call] = []
    others: list[Call] = []
    for call in calls:
        y = call.arguments.get("y")
        foldable = call.name in _PLAIN and type(y) is View and writers[y.buffer] == 1 and y.buffer not in kept
        if foldable and y.buffer.nbytes <= LARGEST_CONSTANT and _reads_known(call, known, engine):
            known.add(y.buffer)
            once.append(call)
        else:
            others.append(call)
    return once, others


def _reads_known(call: Call, known: set[Buffer], engine: Backend) -> bool:
    """Whether all arrays that a call reads, y being what it writes, lie in known buffers."""
    read = [value for key, value in call.arguments.items() if key != "y"]
    return all(
        value.buffer in known if type(value) is View else not isinstance(value, engine.array_type) for value in read
    )


def _touched(calls: list[Call], engine: Backend) -> set[Any]:
    """What calls read or write: buffers of the step, ids of other arrays."""
    values = [value for call in calls for value in call.arguments.values()]
    return {v.buffer for v in values if type(v) is View} | {id(v) for v in values if isinstance(v, engine.array_type)}


def _is_same_block(a: Any, b: Any) -> bool:
    """Whether a and b are contiguous and of one size and type, whatever their shapes."""
    return (
        type(a) is type(b) is View and _size(a) == _size(b) and a.dtype == b.dtype and all(map(_is_contiguous, (a, b)))
    )


def _is_contiguous(view: View) -> bool:
    expected = view.dtype.itemsize
    for length, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _equal(a: Any, b: Any) -> bool:
    return a is b or (type(a) is View and type(b) is View and a.layout() == b.layout())


def _fuse(draft: _Draft, i: int, constant: dict[int, Any]) -> bool:
    """Let a product, call i, take over the only call that uses its result; whether it could."""
    calls, uses, engine = draft.calls, draft.uses, draft.engine
    product = calls[i].arguments
    if calls[i].name not in ("conv2d", "linear") or product["activation"] != "linear":
        return False
    y = product["y"]
    if type(y) is not View or y.buffer in draft.kept or len(uses[y.buffer]) != 2:
        return False
    j = uses[y.buffer][1]
    after = calls[j].arguments
    target = after.get("y")
    if type(target) is not View or uses[target.buffer][0] != j or _size(target) != _size(y):
        return False
    inputs = {value.buffer for key, value in product.items() if type(value) is View and key != "y"}
    if any(type(c.arguments.get("y")) is View and c.arguments["y"].buffer in inputs for c in draft.between(i, j)):
        return False  # what it reads is overwritten in between
    residual = None
    if calls[j].name == "batchnorm_inference":
        if "residual" in product or not _fold_batchnorm(product, after, constant, engine):
            return False
        activation = after["activation"]
    elif calls[j].name == "activation" and after["kind"] in FUSED_ACTIVATIONS:
        activation = after["kind"]
    elif calls[j].name == "binary" and after["op"] == "add" and "residual" in engine.fuses.get(calls[i].name, ()):
        residual = after["b"] if _is(after["a"], y) else after["a"]
        if not _has_constant_weights(product, constant):
            return False
        if "residual" in product or not _same_layout(residual, y) or _is(residual, y):
            return False
        activation = "linear"
    else:
        return False
    product["y"] = View(target.buffer, target.offset, y)
    product["activation"] = activation
    if residual is not None:
        product["residual"] = residual
    draft.move(i, j)
    return True


def _fuse_pool(draft: _Draft, i: int, constant: dict[int, Any]) -> bool:
    """Let convolution i take over the pooling that follows; whether it could."""
    calls, product = draft.calls, draft.calls[i].arguments
    if calls[i].name != "conv2d" or "residual" in product or "pooled" in product:
        return False
    j = draft.following(i)
    if j is None:
        return False
    y, pool = product["y"], calls[j].arguments
    pooled = {"avg_pool2d": "mean", "max_pool2d": "max"}.get(calls[j].name)
    if pooled is None or type(y) is not View or y.buffer in draft.kept or draft.uses[y.buffer] != [i, j]:
        return False
    if not _has_constant_weights(product, constant):
        return False
    if pool["size"] != (2, 2) or pool["stride"] != (2, 2) or any(pool["padding"]) or pool.get("index") is not None:
        return False
    if type(pool["x"]) is not View or not _equal(pool["x"], y) or not draft.engine.pools(product, pooled):
        return False
    if type(pool["y"]) is not View or pool["y"].buffer in {v.buffer for v in product.values() if type(v) is View}:
        return False
    product["y"], product["pooled"] = pool["y"], pooled
    draft.drop(j, into=i)
    return True


def _has_constant_weights(product: dict[str, Any], constant: dict[int, Any]) -> bool:
    return all(value is None or id(value) in constant for value in (product["w"], product["b"]))


def _size(view: View) -> int:
    return int(np.prod(view.shape))


def _is(value: Any, view: View) -> bool:
    return type(value) is View and value.buffer is view.buffer


def _same_layout(value: Any, view: View) -> bool:
    return value.shape == view.shape and value.strides == view.strides and value.dtype == view.dtype


def _fold_batchnorm(product: dict[str, Any], norm: dict[str, Any], constant: dict[int, Any], engine: Backend) -> bool:
    """Put y = gamma (x − mean) / √(var + eps) + beta into the weights and the bias of the product that gives x."""
    values = [product["w"], product["b"], *(norm[k] for k in ("gamma", "beta", "running_mean", "running_var"))]
    if not all(value is None or id(value) in constant for value in values):
        return False
    w, b, gamma, beta, mean, variance = (None if v is None else np.float64(engine.to_numpy(v)) for v in values)
    scale = (1.0 if gamma is None else gamma) / np.sqrt(variance + norm["eps"])  # type: ignore[operator]
    shift = (0.0 if b is None else b) - mean  # type: ignore[operator]
    dtype = product["w"].dtype
    product["w"] = engine.asarray((w * scale).astype(dtype))  # type: ignore[operator]
    product["b"] = engine.asarray((shift * scale + (0.0 if beta is None else beta)).astype(dtype))
    constant.update((id(array), array) for array in (product["w"], product["b"]))
    return True
