"""Input, Dense, Embedding, Masking, Lambda and Identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import activations
from .. import functional as F
from ..checking import is_number, is_whole
from ..symbolic import Node, Shape, SymbolicTensor
from ..tensor import Tensor, Variable, as_tensor
from .arguments import positive_int
from .base import Layer
from .input_spec import InputSpec


class InputLayer(Layer):
    """Where data enters a graph; `Input` makes it and gives its symbolic output."""

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        name: str | None = None,
        batch_shape: Any = None,
        input_tensor: SymbolicTensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if (shape is None) == (batch_shape is None):
            raise ValueError("Input needs either shape (without the batch) or batch_shape (with it), not both")
        given = shape if batch_shape is None else batch_shape
        if not isinstance(given, (int, np.integer, list, tuple)):
            raise ValueError(f"shape must hold whole numbers or None, got {given!r}")
        if batch_shape is None:
            batch_shape = (batch_size, *((shape,) if isinstance(shape, (int, np.integer)) else shape))
        elif batch_size is not None:
            raise ValueError("batch_size must be None where batch_shape is given")
        for n in batch_shape:
            if n is not None and not is_whole(n, 0):
                raise ValueError(f"shape must hold whole numbers or None, got {tuple(batch_shape)}")
        self._input_dtype = _input_dtype(dtype)
        self.batch_shape = tuple(batch_shape)
        self.built = True
        Node(self, (), {}, SymbolicTensor(self.batch_shape, self._input_dtype, name=self.name))
        self.__dict__["_output_shape"] = self.batch_shape

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_nodes": self._nodes}  # whose output a chain without a graph goes on from

    @property
    def dtype(self) -> str:
        return self._input_dtype.name

    def call(self, *args: Any) -> Any:
        raise TypeError(f"{self._said} is not called: it stands for the data a model is called with")

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": list(self.batch_shape), "dtype": self.dtype, "name": self.name}


def _input_dtype(dtype: Any) -> np.dtype:
    try:
        found = np.dtype("float32" if dtype is None else dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "iub" and found not in (np.float32, np.float64):
        raise ValueError(f"dtype of Input must be 'float32', 'float64', an integer type or 'bool', got {dtype!r}")
    return found


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    batch_shape: Any = None,
    **kwargs: Any,
) -> SymbolicTensor:
    """The symbolic tensor from which a graph of layers starts.

    Args:
        shape: shape of one sample, without the batch; None for lengths that vary.
        batch_size: fixed number of samples, if it is one.
        dtype: "float32" if None.
        name: name of its InputLayer, by which a dict of data finds it.
        batch_shape: in place of shape and batch_size, both together.
    """
    return InputLayer(shape, batch_size, dtype, name, batch_shape, **kwargs).output


class Dense(Layer):
    """y = activation(x · kernel + bias) over the last axis.

    x `[..., I]`, kernel `[I, units]`, bias `[units]`, y `[..., units]`.
    """

    _real_inputs = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive_int(units, "units of Dense")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._take_weight_arguments("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._take_weight_arguments("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True
        self.bias: Variable | None = None

    def build(self, input_shape: Shape) -> None:
        features = known(input_shape[-1], -1, input_shape, self)
        self.kernel = self._add_described("kernel", (features, self.units))
        if self.use_bias:
            self.bias = self._add_described("bias", (self.units,))
        self.input_spec = InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs: Tensor) -> Tensor:
        fused, after = activations.split(self.activation)
        y = F.linear(inputs, self.kernel, self.bias, fused)
        return y if after is None else after(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }


class Embedding(Layer):
    """Rows of a table: whole numbers `[...]` below input_dim to vectors `[..., output_dim]`.

    With mask_zero the number 0 marks steps that do not count. Floating inputs are cut to whole numbers.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("input_length", None)
        super().__init__(**kwargs)
        self.input_dim = positive_int(input_dim, "input_dim of Embedding")
        self.output_dim = positive_int(output_dim, "output_dim of Embedding")
        self._take_weight_arguments("embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.input_spec = InputSpec()
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, (list, tuple)) else [weights])

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        self.embeddings = self._add_described("embeddings", (self.input_dim, self.output_dim))

    def _convert(self, x: Any) -> Any:
        if isinstance(x, np.ndarray) and x.dtype == np.float16:
            x = x.astype(np.float32)
        return as_tensor(x)  # whole numbers may come as floats, of any dtype

    def call(self, inputs: Tensor) -> Tensor:
        return F.embedding(inputs if inputs.dtype.kind in "iu" else F.cast(inputs, "int32"), self.embeddings)

    def compute_mask(self, inputs: Tensor, mask: Any = None) -> Any:
        return F.not_equal(F.cast(inputs, "float64"), 0.0).data if self.mask_zero else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "mask_zero": self.mask_zero,
        }


class Masking(Layer):
    """Masks the time steps of x `[N, T, ...]` whose every feature equals mask_value, and sets them to 0."""

    _real_inputs = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not is_number(mask_value):
            raise ValueError(f"mask_value of Masking must be a number, got {mask_value!r}")
        self.mask_value = mask_value

    def compute_mask(self, inputs: Tensor, mask: Any = None) -> Any:
        return self._steps(inputs).data

    def _steps(self, inputs: Tensor, keepdims: bool = False) -> Tensor:
        differs = F.cast(F.not_equal(inputs, self.mask_value), inputs.dtype)
        return F.greater(F.max(differs, axis=-1, keepdims=keepdims), 0.0)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * F.cast(self._steps(inputs, keepdims=True), inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}


class Lambda(Layer):
    """A function of tensors as a layer.

    A model with one can be saved only if the function has a name, and loaded only with that name in custom_objects.

    Args:
        function: called with the inputs, and `mask` and `training` if it takes them.
        output_shape: shape of one sample of the output, or a function of the input's shape; tried on zeros if None.
        mask: the output's mask, or a function (inputs, mask) that gives it.
        arguments: further keyword arguments for the function.
    """

    def __init__(
        self,
        function: Callable,
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"function of Lambda must be callable, got {function!r}")
        import inspect

        self.function = function
        self.arguments = dict(arguments or {})
        self.mask = mask
        self._output_shape_given = output_shape
        self.supports_masking = mask is not None
        self.built = True
        try:
            accepted = set(inspect.signature(function).parameters)
        except ValueError:  # some built-in functions have no signature
            accepted = set()
        self._passes = accepted & {"mask", "training"}

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        passed = {name: value for name, value in (("mask", mask), ("training", training)) if name in self._passes}
        return self.function(inputs, **passed, **self.arguments)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self._output_shape_given is None:
            return self._infer_by_running(args, kwargs)
        return super().compute_output_spec(*args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        given = self._output_shape_given
        if given is None:
            return super().compute_output_shape(input_shape)
        if callable(given):
            return given(input_shape)
        batch = input_shape[0] if not input_shape or not isinstance(input_shape[0], (list, tuple)) else None
        return (batch, *given)

    def get_config(self) -> dict[str, Any]:
        name = getattr(self.function, "__name__", "<lambda>")
        if name == "<lambda>":
            raise ValueError(f"{self._said} cannot be saved: its function has no name; use a def or a Layer subclass")
        if callable(self._output_shape_given) or self.mask is not None:
            raise ValueError(f"{self._said} cannot be saved with a mask or a function as output_shape")
        return {
            **super().get_config(),
            "function": name,
            "output_shape": self._output_shape_given,
            "arguments": self.arguments,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Lambda:
        from ..io.serialization import custom_object

        function = custom_object(config["function"])
        if function is None:
            raise ValueError(
                f"Lambda layer {config.get('name')!r} calls a function {config['function']!r}: "
                "pass it in custom_objects"
            )
        return cls(**{**config, "function": function})


class Identity(Layer):
    """Gives what it gets."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def known(length: int | None, axis: int, shape: Any, layer: Layer) -> int:
    """A length that weights depend on, or a ValueError if it varies."""
    if length is None:
        raise ValueError(
            f"{layer._said} needs to know the length of axis {axis} of its input, got shape {tuple(shape)}"
        )
    return int(length)
