"""Cells of recurrent layers: one step, `output, states = cell(inputs, states)`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import activations
from .. import functional as F
from ..backends.interface import FUSED_ACTIVATIONS, Array
from ..checking import real_number
from ..random import SeedGenerator
from ..symbolic import Shape, flatten, map_structure
from ..tensor import Tensor, Variable, as_tensor
from .arguments import positive_int
from .base import Layer
from .core import known
from .input_spec import InputSpec


class _Cell(Layer):
    """What the three cells share: arguments, weights and dropout masks that last for a sequence."""

    _real_inputs = True
    _gates = 1
    bias_initializer: Any

    def __init__(
        self,
        units: int,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        recurrent_regularizer: Any,
        bias_regularizer: Any,
        kernel_constraint: Any,
        recurrent_constraint: Any,
        bias_constraint: Any,
        dropout: float,
        recurrent_dropout: float,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__.removesuffix("Cell")
        self.units = positive_int(units, f"units of {kind}")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._take_weight_arguments("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._take_weight_arguments("recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint)
        self._take_weight_arguments("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.dropout = min(1.0, max(0.0, real_number(dropout, f"dropout of {kind}")))
        self.recurrent_dropout = min(1.0, max(0.0, real_number(recurrent_dropout, f"recurrent_dropout of {kind}")))
        self.seed = seed
        self._seeds = SeedGenerator(seed)
        self._masks: dict[str, Tensor] = {}
        self.bias: Variable | None = None
        self.state_size: Any = self.units
        self.output_size = self.units

    def _bias_shape(self) -> tuple[int, ...]:
        return (self._gates * self.units,)

    def _first_bias(self) -> Any:
        """The bias's initializer."""
        return self.bias_initializer

    def build(self, input_shape: Shape) -> None:
        features = known(input_shape[-1], -1, input_shape, self)
        columns = self._gates * self.units
        self.kernel = self._add_described("kernel", (features, columns))
        self.recurrent_kernel = self._add_described("recurrent", (self.units, columns), name="recurrent_kernel")
        if self.use_bias:
            self.bias = self._add_described("bias", self._bias_shape(), initializer=self._first_bias())
        self.input_spec = InputSpec(axes={-1: features})

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """States of zeros."""
        return [as_tensor(np.zeros((batch_size, n), self.dtype)) for n in flatten(self.state_size)]

    def compute_output_shape(self, input_shape: Shape, states_shape: Any = None) -> Any:
        state = (input_shape[0], self.units)
        return state, [state for _ in flatten(self.state_size)]

    # Dropout masks are drawn at the first step of a sequence and kept for all its steps (Gal & Ghahramani 2016).

    def reset_dropout_mask(self) -> None:
        self._masks.pop("input", None)

    def reset_recurrent_dropout_mask(self) -> None:
        self._masks.pop("recurrent", None)

    def _dropped(self, x: Tensor, training: bool | None, which: str, rate: float) -> Tensor:
        if not training or rate == 0:
            return x
        mask = self._masks.get(which)
        if mask is None:
            ones = as_tensor(np.ones(x.shape, self.dtype))
            mask = F.dropout(ones, rate, *self._seeds.next(math.prod(x.shape))) if rate < 1 else ones * 0.0
            self._masks[which] = mask
        return x * mask

    def _drop_sequence(self, x: Tensor, training: bool | None) -> Tensor:
        """Input dropout of a whole sequence `[N, T, I]`, one mask for all steps."""
        if not training or self.dropout == 0:
            return x
        if self.dropout == 1:
            return x * 0.0
        shape = (x.shape[0], 1, x.shape[2])
        return F.dropout(x, self.dropout, *self._seeds.next(math.prod(shape)), shape)

    @property
    def fused_activation(self) -> bool:
        """Whether the activations are those of the whole-sequence primitive."""
        raise NotImplementedError

    def sequence(self, x: Tensor, states: list[Tensor], mask: Array | None) -> tuple[Tensor, list[Tensor]]:
        """Outputs `[N, T, H]` of a whole sequence and the last states, by the primitive."""
        raise NotImplementedError

    def step(self, x: Tensor, dropped: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One step by elementary functions; `dropped` is the last output after recurrent dropout."""
        raise NotImplementedError

    def call(self, inputs: Tensor, states: Any, training: bool | None = False) -> tuple[Tensor, list[Tensor]]:
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        x = self._dropped(inputs, training, "input", self.dropout)
        dropped = self._dropped(states[0], training, "recurrent", self.recurrent_dropout)
        if self.fused_activation and dropped is states[0]:
            h, states = self.sequence(F.reshape(x, (x.shape[0], 1, x.shape[1])), states, None)
            return F.reshape(h, (x.shape[0], self.units)), states
        return self.step(x, dropped, states)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


class SimpleRNNCell(_Cell):
    """h ← activation(x · kernel + h · recurrent_kernel + bias).

    kernel `[I, H]`, recurrent_kernel `[H, H]`, bias `[H]`.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, **kwargs,
        )  # fmt: skip

    @property
    def fused_activation(self) -> bool:
        return activations.split(self.activation)[1] is None

    def sequence(self, x: Tensor, states: list[Tensor], mask: Array | None) -> tuple[Tensor, list[Tensor]]:
        kind = activations.split(self.activation)[0]
        assert kind in FUSED_ACTIVATIONS
        h = F.simple_rnn(x, self.kernel, self.recurrent_kernel, self.bias, states[0], mask, kind)
        return h, [h[:, -1]]

    def step(self, x: Tensor, dropped: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        h = self.activation(F.linear(x, self.kernel, self.bias) + F.linear(dropped, self.recurrent_kernel))
        return h, [h]


class LSTMCell(_Cell):
    """An LSTM step; states h and c `[N, H]`, weights with the gates side by side in the order i · f · c · o.

    kernel `[I, 4H]`, recurrent_kernel `[H, 4H]`, bias `[4H]`. `unit_forget_bias` starts the forget gate's bias at 1.
    """

    _gates = 4

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, **kwargs,
        )  # fmt: skip
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [self.units, self.units]

    def _first_bias(self) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer

        def with_ones(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            h = self.units
            first, rest = self.bias_initializer((h,), dtype=dtype), self.bias_initializer((2 * h,), dtype=dtype)
            return np.concatenate([first, np.ones(h, dtype), rest])

        return with_ones

    @property
    def fused_activation(self) -> bool:
        return self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid

    def sequence(self, x: Tensor, states: list[Tensor], mask: Array | None) -> tuple[Tensor, list[Tensor]]:
        h, c = F.lstm(x, self.kernel, self.recurrent_kernel, self.bias, states[0], states[1], mask)
        return h, [h[:, -1], c]

    def step(self, x: Tensor, dropped: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        z = F.linear(x, self.kernel, self.bias) + F.linear(dropped, self.recurrent_kernel)
        n = self.units
        i, f, o = (self.recurrent_activation(z[:, gate * n : (gate + 1) * n]) for gate in (0, 1, 3))
        c = f * states[1] + i * self.activation(z[:, 2 * n : 3 * n])
        h = o * self.activation(c)
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "unit_forget_bias": self.unit_forget_bias,
        }


class GRUCell(_Cell):
    """A GRU step; weights with the gates side by side in the order z · r · h.

    kernel `[I, 3H]`, recurrent_kernel `[H, 3H]`, bias `[2, 3H]` with `reset_after` (the reset gate acts after the
    recurrent product), else `[3H]`.
    """

    _gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, **kwargs,
        )  # fmt: skip
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    @property
    def fused_activation(self) -> bool:
        return self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid

    def sequence(self, x: Tensor, states: list[Tensor], mask: Array | None) -> tuple[Tensor, list[Tensor]]:
        h = F.gru(x, self.kernel, self.recurrent_kernel, self.bias, states[0], mask, self.reset_after)
        return h, [h[:, -1]]

    def step(self, x: Tensor, dropped: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        n = self.units
        b: Tensor | None = self.bias
        b_recurrent: Tensor | None = None
        if b is not None and self.reset_after:
            b, b_recurrent = b[0], b[1]
        xz = F.linear(x, self.kernel, b)
        if self.reset_after:
            hz = F.linear(dropped, self.recurrent_kernel, b_recurrent)
        else:
            hz = F.linear(dropped, self.recurrent_kernel[:, : 2 * n])
        z = self.recurrent_activation(xz[:, :n] + hz[:, :n])
        r = self.recurrent_activation(xz[:, n : 2 * n] + hz[:, n : 2 * n])
        if self.reset_after:
            recurrent = r * hz[:, 2 * n :]
        else:
            recurrent = F.linear(r * dropped, self.recurrent_kernel[:, 2 * n :])
        g = self.activation(xz[:, 2 * n :] + recurrent)
        h = z * states[0] + (1.0 - z) * g
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "reset_after": self.reset_after,
        }


class StackedRNNCells(Layer):
    """Cells one upon the other, as one cell; its states are a list of each cell's."""

    _real_inputs = True

    def __init__(self, cells: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(cells, (list, tuple)) or not cells:
            raise ValueError(f"cells of StackedRNNCells must be a list of one or more cells, got {cells!r}")
        for cell in cells:
            check_cell(cell)
        self.cells = list(cells)

    @property
    def state_size(self) -> list:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int) -> list:
        return [initial_state(cell, batch_size, self.dtype) for cell in self.cells]

    def build(self, input_shape: Shape) -> None:
        for cell in self.cells:
            if not cell.built:
                cell.build(input_shape)
                cell.built = True
            input_shape = (input_shape[0], *lengths(output_size(cell)))

    def call(self, inputs: Tensor, states: Any, training: bool | None = False) -> tuple[Tensor, list]:
        new_states = []
        for cell, state in zip(self.cells, states, strict=True):
            inputs, new_state = run_cell(cell, inputs, state, training)
            new_states.append(new_state)
        return inputs, new_states

    def get_config(self) -> dict[str, Any]:
        from . import serialize

        return {**super().get_config(), "cells": [serialize(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StackedRNNCells:
        from . import deserialize

        return cls(**{**config, "cells": [deserialize(cell) for cell in config["cells"]]})


# ---- any cell, also one of a user's ---------------------------------------------------------------------------------


def check_cell(cell: Any) -> None:
    if not callable(getattr(cell, "call", None)) or not hasattr(cell, "state_size"):
        raise ValueError(f"a cell must have call(inputs, states) and state_size, got {cell!r}")


def lengths(size: Any) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, (list, tuple)) else (int(size),)


def output_size(cell: Any) -> Any:
    size = getattr(cell, "output_size", None)
    return flatten(cell.state_size)[0] if size is None else size


def initial_state(cell: Any, batch: int, dtype: Any) -> Any:
    if hasattr(cell, "get_initial_state"):
        return cell.get_initial_state(batch_size=batch)
    states = map_structure(lambda n: as_tensor(np.zeros((batch, n), dtype)), cell.state_size)
    return states if isinstance(states, (list, tuple)) else [states]


def run_cell(cell: Any, x: Tensor, states: Any, training: bool | None) -> tuple[Tensor, Any]:
    if isinstance(cell, Layer):
        output, states = (
            cell.call(x, states, training=training) if cell._call_signature.has_training else cell.call(x, states)
        )
    else:
        output, states = cell.call(x, states)
    return output, states if isinstance(states, (list, tuple)) else [states]


def forget_dropout(cell: Any) -> None:
    for part in cell._flatten_layers() if isinstance(cell, Layer) else ():
        if isinstance(part, _Cell):
            part._masks.clear()
