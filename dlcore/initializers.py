"""Initial values of weights: Keras 3's names, arguments and distributions.

Values are drawn on the host, in float64 whatever the weight's dtype, from `dlcore.random.host_generator()` or, for an
initializer with a seed, from a generator of that seed: one seed gives the same start on every engine.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import random
from .checking import is_whole, real_number
from .naming import to_snake_case, unknown_name

_CHUNK = 1 << 20  # how many values are drawn at once, so that large weights need little memory besides their own


class Initializer:
    """Base class: a callable that gives the first value of a weight of a shape and dtype."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


class Zeros(Initializer):
    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.zeros(shape, _dtype(dtype))


class Ones(Initializer):
    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.ones(shape, _dtype(dtype))


class Constant(Initializer):
    """`value` everywhere; an array must broadcast to the weight's shape."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        value = np.asarray(self.value, _dtype(dtype))
        try:
            return np.broadcast_to(value, shape).copy()
        except ValueError:
            raise ValueError(f"value of Constant must broadcast to {tuple(shape)}, got shape {value.shape}") from None

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value.tolist() if isinstance(self.value, np.ndarray) else self.value}


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, zero elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = real_number(gain, "gain")

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity needs a matrix, got shape {tuple(shape)}")
        return self.gain * np.eye(*shape, dtype=_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class _Random(Initializer):
    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and not is_whole(seed, 0):
            raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
        self.seed = None if seed is None else int(seed)

    def _generator(self) -> np.random.Generator:
        return random.host_generator() if self.seed is None else np.random.default_rng(self.seed)

    def _draw(self, shape: tuple[int, ...], dtype: Any, draw: Callable[[np.random.Generator, int], Any]) -> np.ndarray:
        values = np.empty(shape, _dtype(dtype))
        flat = values.reshape(-1)
        generator = self._generator()
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            part[...] = draw(generator, part.size)
        return values


class RandomUniform(_Random):
    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval = real_number(minval, "minval")
        self.maxval = real_number(maxval, "maxval", self.minval)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return self._draw(shape, dtype, lambda generator, n: generator.uniform(self.minval, self.maxval, n))

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class RandomNormal(_Random):
    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean = real_number(mean, "mean")
        self.stddev = real_number(stddev, "stddev", 0)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return self._draw(shape, dtype, lambda generator, n: generator.normal(self.mean, self.stddev, n))

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class TruncatedNormal(RandomNormal):
    """Normal values, drawn anew where they lie more than two standard deviations from the mean."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return self._draw(shape, dtype, lambda generator, n: self.mean + self.stddev * _truncated(generator, n))


class VarianceScaling(_Random):
    """Spread after the number of inputs and outputs of a weight (He et al. 2015; Glorot & Bengio 2010).

    Args:
        scale: variance times that number.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (the variance is that after truncation), "untruncated_normal" or "uniform".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        scale = real_number(scale, "scale")
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale!r}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}")
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                f"distribution must be 'uniform', 'truncated_normal' or 'untruncated_normal', got {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return self._draw(shape, dtype, lambda generator, n: generator.uniform(-limit, limit, n))
        if self.distribution == "untruncated_normal":
            return self._draw(shape, dtype, lambda generator, n: generator.normal(0, math.sqrt(variance), n))
        stddev = math.sqrt(variance) / 0.87962566103423978  # standard deviation of a normal truncated at ±2
        return self._draw(shape, dtype, lambda generator, n: stddev * _truncated(generator, n))

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed}


class _Scaled(VarianceScaling):
    _setting: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self._setting, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class GlorotUniform(_Scaled):
    """Xavier's: uniform in ±√(6 / (fan_in + fan_out))."""

    _setting = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Xavier's: truncated normal of variance 2 / (fan_in + fan_out)."""

    _setting = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform in ±√(6 / fan_in)."""

    _setting = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal of variance 2 / fan_in."""

    _setting = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform in ±√(3 / fan_in)."""

    _setting = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal of variance 1 / fan_in."""

    _setting = (1.0, "fan_in", "truncated_normal")


class Orthogonal(_Random):
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al. 2014).

    A shape of more than two axes is taken as a matrix whose columns are its last axis.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = real_number(gain, "gain")

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of at least two axes, got {tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(self._generator().standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # makes the decomposition unique, so that q is uniformly distributed
        q = q.T if rows < columns else q
        return np.ascontiguousarray((self.gain * q).reshape(shape), _dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


def compute_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: matrices `[in, out]`, filters `[..., in, out]` times their receptive field."""
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _truncated(generator: np.random.Generator, count: int) -> np.ndarray:
    values = generator.standard_normal(count)
    while True:
        outside = np.flatnonzero(np.abs(values) > 2)
        if not outside.size:
            return values
        values[outside] = generator.standard_normal(outside.size)


def _dtype(dtype: Any) -> np.dtype:
    return np.dtype("float32" if dtype is None else dtype)


_CLASSES: dict[str, type[Initializer]] = {
    cls.__name__: cls
    for cls in (
        Zeros, Ones, Constant, Identity, RandomUniform, RandomNormal, TruncatedNormal, VarianceScaling,
        GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Orthogonal,
    )
}  # fmt: skip
_NAMES: dict[str, type[Initializer]] = {
    **_CLASSES,
    **{to_snake_case(name): cls for name, cls in _CLASSES.items()},
    "zero": Zeros,
    "one": Ones,
    "normal": RandomNormal,
    "uniform": RandomUniform,
    "OrthogonalInitializer": Orthogonal,
    "IdentityInitializer": Identity,
}

# Keras offers the snake_case names as attributes too
zeros, ones, constant, identity = Zeros, Ones, Constant, Identity
random_uniform, random_normal, truncated_normal = RandomUniform, RandomNormal, TruncatedNormal
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal


def get(identifier: Any) -> Any:
    """An initializer from its name, its class, its config, an array (a constant) or any callable (shape, dtype).

    Raises:
        ValueError: no initializer has this name.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise unknown_name("initializer", identifier, _NAMES)
        return _NAMES[identifier]()
    if isinstance(identifier, np.ndarray):
        return Constant(identifier)
    if inspect.isclass(identifier) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(f"an initializer must be a name, an Initializer or a callable, got {identifier!r}")


def serialize(initializer: Any) -> dict[str, Any] | str | None:
    """A config that `deserialize` turns back into the initializer."""
    if initializer is None:
        return None
    if isinstance(initializer, Initializer):
        return {"class_name": type(initializer).__name__, "config": initializer.get_config()}
    name = getattr(initializer, "__name__", "")
    if name and name != "<lambda>":
        return {"class_name": "function", "config": name}
    raise ValueError(f"initializer {initializer!r} cannot be saved: use a class with get_config() or a named function")


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer that `serialize` described."""
    from .io.serialization import restore

    return restore("initializer", config, _NAMES, custom_objects)


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("initializers", name, list(globals()))
