"""A dense layer whose products are named by an Einstein summation."""

from __future__ import annotations

import math
import re
import string
from typing import Any, NamedTuple

import numpy as np

from .. import activations
from .. import functional as F
from ..initializers import VarianceScaling
from ..symbolic import Shape
from ..tensor import Tensor, Variable
from .base import Layer
from .core import known
from .input_spec import InputSpec

_FORMS = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


class _Axes(NamedTuple):
    """An equation's parts; "..." or None where axes may be left out."""

    before: str | None
    inputs: str
    after: str | None
    kernel: str
    output_before: str | None
    outputs: str
    output_after: str | None


class _Plan:
    """Which axes of an input meet which of the kernel: letters by their part in the product, and their lengths."""

    def __init__(self, layer: EinsumDense, input_shape: Shape) -> None:
        before, inputs, after, self.kernel, _, outputs, _ = layer.axes
        extra = len(input_shape) - len(inputs)
        if extra < 0 or (extra and not (before or after)):
            raise ValueError(
                f"{layer._said} expected an input with the axes {layer.equation.split(',')[0]!r}, "
                f"got shape {tuple(input_shape)}"
            )
        free = [letter for letter in string.ascii_letters if letter not in layer.equation][:extra]
        elided = "".join(free)
        self.inputs = elided + inputs if before else inputs + elided
        self.outputs = elided + outputs if before else outputs + elided
        self.lengths: dict[str, int | None] = dict(zip(self.inputs, input_shape, strict=True))
        given = outputs if before and extra else outputs[1:]
        if len(given) != len(layer._given_shape):
            raise ValueError(
                f"output_shape of {layer._said} must hold the lengths of {', '.join(given)}, "
                f"got {tuple(layer._given_shape)}"
            )
        for letter, length in zip(given, layer._given_shape, strict=True):
            here = self.lengths.get(letter)
            if here is not None and length not in (None, here):
                raise ValueError(
                    f"output_shape of {layer._said} gives axis {letter!r} the length {length}, its input has {here}"
                )
            if here is None:
                self.lengths[letter] = length
        self.shared = [c for c in self.inputs if c in self.kernel and c in self.outputs]
        self.summed = [c for c in self.inputs if c in self.kernel and c not in self.outputs]
        self.free = [c for c in self.inputs if c not in self.kernel]
        self.new = [c for c in self.outputs if c not in self.inputs]

    def shape(self, letters: Any) -> tuple[int | None, ...]:
        return tuple(self.lengths[c] for c in letters)

    def size(self, letters: Any) -> int:
        """How many elements those axes have together; every length must be known."""
        return math.prod(self.shape(letters))  # type: ignore[arg-type]


class EinsumDense(Layer):
    """y = activation(einsum(equation, x, kernel) + bias).

    Args:
        equation: "abc,cd->abd", with letters for the axes of input, kernel and output; "..." before or after those of
            input and output stands for any others.
        output_shape: lengths of the output's axes but the batch and those of "..."; None where they are the input's.
        bias_axes: letters of the output's axes along which the bias varies; no bias if None.
    """

    _real_inputs = True
    kernel_initializer: Any

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.equation = equation
        self.bias_axes = bias_axes
        self.axes = _parsed(equation)
        self._given_shape = (output_shape,) if isinstance(output_shape, (int, np.integer)) else tuple(output_shape)
        if bias_axes is not None and (not bias_axes or not set(bias_axes) <= set(self.axes.outputs)):
            raise ValueError(f"bias_axes of EinsumDense must be among {self.axes.outputs!r}, got {bias_axes!r}")
        self.activation = activations.get(activation)
        self.input_spec = InputSpec(min_ndim=1)
        self._take_weight_arguments("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._take_weight_arguments("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.bias: Variable | None = None

    def build(self, input_shape: Shape) -> None:
        plan = _Plan(self, input_shape)
        for axis, letter in enumerate(plan.inputs):
            if letter in plan.kernel:
                known(plan.lengths[letter], axis, input_shape, self)
        shape = plan.shape(plan.kernel)
        self.kernel = self._add_described("kernel", shape, initializer=self._by_fans(plan))
        if self.bias_axes is not None:
            first = min(plan.outputs.index(c) for c in self.bias_axes)
            letters = plan.outputs[first:]
            lengths = tuple(plan.lengths[c] if c in self.bias_axes else 1 for c in letters)
            self.bias = self._add_described("bias", lengths)
        self.input_spec = InputSpec(
            ndim=len(input_shape), axes={i: plan.lengths[c] for i, c in enumerate(plan.inputs) if c in plan.kernel}
        )

    def _by_fans(self, plan: _Plan) -> Any:
        """The kernel's initializer; one that depends on numbers of inputs and outputs sees the kernel as a matrix."""
        initializer = self.kernel_initializer
        if not isinstance(initializer, VarianceScaling):
            return initializer
        inputs = plan.size(plan.summed)

        def spread(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            return initializer((inputs, math.prod(shape) // inputs), dtype=dtype).reshape(shape)

        return spread

    def call(self, inputs: Tensor) -> Tensor:
        plan = _Plan(self, inputs.shape)
        shared, free, summed, new = map(plan.size, (plan.shared, plan.free, plan.summed, plan.new))
        x = _ordered(inputs, plan.inputs, [*plan.shared, *plan.free, *plan.summed])
        w = _ordered(self.kernel, plan.kernel, [*plan.shared, *plan.summed, *plan.new])
        order, bias = [*plan.shared, *plan.free, *plan.new], self.bias
        if plan.shared:
            y = F.matmul(F.reshape(x, (shared, free, summed)), F.reshape(w, (shared, summed, new)))
        else:
            columns = None
            if bias is not None and bias.shape == plan.shape(plan.new) and order == list(plan.outputs):
                columns, bias = F.reshape(bias, (new,)), None
            y = F.linear(F.reshape(x, (free, summed)), F.reshape(w, (summed, new)), columns)
        y = _ordered(F.reshape(y, plan.shape(order)), order, plan.outputs)
        return self.activation(y if bias is None else y + bias)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        plan = _Plan(self, input_shape)
        return plan.shape(plan.outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "equation": self.equation,
            "output_shape": list(self._given_shape),
            "activation": activations.serialize(self.activation),
            "bias_axes": self.bias_axes,
        }


def _ordered(x: Tensor, axes: Any, order: Any) -> Tensor:
    """x, whose axes have these letters, with the axes in another order."""
    return x if list(axes) == list(order) else F.transpose(x, [list(axes).index(c) for c in order])


def _parsed(equation: Any) -> _Axes:
    match = _FORMS.fullmatch(equation) if isinstance(equation, str) else None
    if match:
        axes = _Axes(*match.groups())
        inputs, kernel, outputs = map(set, (axes.inputs, axes.kernel, axes.outputs))
        distinct = (len(inputs), len(kernel), len(outputs)) == (len(axes.inputs), len(axes.kernel), len(axes.outputs))
        in_two = inputs <= kernel | outputs and kernel <= inputs | outputs and outputs <= inputs | kernel
        same = (axes.before, axes.after) == (axes.output_before, axes.output_after) and not (axes.before and axes.after)
        if distinct and in_two and same and (axes.before or axes.inputs[0] == axes.outputs[0]):
            return axes
    raise ValueError(
        "equation of EinsumDense must have the form 'ab,bc->ac', '...b,bc->...c' or 'ab...,bc->ac...', each letter "
        f"once in a part and in two parts or all, the batch first, got {equation!r}"
    )
