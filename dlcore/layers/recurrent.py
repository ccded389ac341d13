"""Recurrent layers over sequences `[N, T, I]`.

`RNN` runs a cell along the sequence. SimpleRNN, LSTM and GRU run the whole sequence as one primitive where their
activations are the primitive's, and step by step otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..symbolic import flatten, map_structure
from ..tensor import Tensor, as_tensor
from .base import Layer
from .cells import (
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    _Cell,
    check_cell,
    forget_dropout,
    initial_state,
    lengths,
    output_size,
    run_cell,
)
from .input_spec import InputSpec


class RNN(Layer):
    """Runs a cell along sequences `[N, T, ...]`.

    Args:
        cell: a layer with `state_size` and `call(inputs, states) -> (output, new states)`, or a list of such.
        return_sequences: give every step's output `[N, T, H]`, not only the last one's `[N, H]`.
        return_state: give the last states too.
        go_backwards: begin at the end; outputs come in the order of computation.
        stateful: start each batch from the states that the last one ended with, until `reset_state()`.
        unroll: accepted for Keras's sake; it changes nothing here.
        zero_output_for_mask: masked steps give zeros instead of the last output.

    A step that the mask `[N, T]` excludes leaves the states as they are.
    """

    _real_inputs = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        zero_output_for_mask = kwargs.pop("zero_output_for_mask", False)
        super().__init__(**kwargs)
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        check_cell(cell)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.input_spec = InputSpec(min_ndim=3)
        self._kept_states: Any = None

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        step_shape = (sequences_shape[0], *sequences_shape[2:])
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build(step_shape)
            self.cell.built = True
        self.input_spec = InputSpec(ndim=len(sequences_shape), axes={-1: sequences_shape[-1]})

    def get_initial_state(self, batch_size: int) -> Any:
        """States of zeros, as the cell nests them."""
        return initial_state(self.cell, batch_size, self.dtype)

    @property
    def states(self) -> list[Tensor] | None:
        """The states that a stateful layer goes on from, as a list; None before it has any."""
        return None if self._kept_states is None else flatten(self._kept_states)

    def reset_state(self) -> None:
        """Start the next batch of a stateful layer from zeros."""
        self._kept_states = None

    reset_states = reset_state

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool | None = False
    ) -> Any:
        batch, steps = sequences.shape[:2]
        if steps < 1:
            raise ValueError(f"{self._said} needs sequences of at least one step, got shape {tuple(sequences.shape)}")
        if mask is not None and tuple(mask.shape) != (batch, steps):
            raise ValueError(f"mask of {self._said} must have shape {(batch, steps)}, got {tuple(mask.shape)}")
        resumed = initial_state is not None or self._kept_states is not None
        states = self._start(initial_state, batch)
        if self.go_backwards:
            sequences = F.flip(sequences, 1)
            mask = None if mask is None else F.flip(as_tensor(mask), 1).data
        outputs, last, states = self._run(sequences, states, mask, training)
        if mask is not None and resumed:
            outputs, last = _none_before_the_first(outputs, last, F.cast(as_tensor(mask), sequences.dtype))
        if self.stateful:
            self.__dict__["_kept_states"] = map_structure(lambda state: state.detach(), states)
        if self.zero_output_for_mask and mask is not None:
            counts = F.cast(as_tensor(mask), sequences.dtype)
            if outputs is not None:
                outputs = outputs * F.reshape(counts, (batch, steps, *(1,) * (outputs.ndim - 2)))
            last = last * F.reshape(counts[:, -1], (batch, *(1,) * (last.ndim - 1)))
        result = outputs if self.return_sequences else last
        return (result, *states) if self.return_state else result

    def _start(self, initial_state: Any, batch: int) -> Any:
        if initial_state is not None:
            states = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
            expected = flatten(self.cell.state_size)
            if len(flatten(states)) != len(expected):
                raise ValueError(
                    f"initial_state of {self._said} must hold {len(expected)} state(s), got {len(flatten(states))}"
                )
            for state, size in zip(flatten(states), expected, strict=True):
                if tuple(state.shape) != (batch, *lengths(size)):
                    raise ValueError(
                        f"initial_state of {self._said} must have shape {(batch, *lengths(size))}, "
                        f"got {tuple(state.shape)}"
                    )
            return [*states]
        if self.stateful and self._kept_states is not None:
            kept = flatten(self._kept_states)[0].shape[0]
            if kept != batch:
                raise ValueError(
                    f"{self._said} is stateful and keeps the states of {kept} sequences, got a batch of {batch}; "
                    "reset_state() forgets them"
                )
            return self._kept_states
        return self.get_initial_state(batch)

    def _run(self, x: Tensor, states: Any, mask: Any, training: bool | None) -> tuple[Tensor | None, Tensor, list]:
        """(outputs of all steps if they are asked for, output of the last step, last states)."""
        forget_dropout(self.cell)
        outputs: list[Tensor] = []
        steps = None if mask is None else as_tensor(mask)
        output = None
        for t in range(x.shape[1]):
            new_output, new_states = run_cell(self.cell, x[:, t], states, training)
            if steps is not None:
                here = steps[:, t]
                before = new_output * 0.0 if output is None else output
                new_output = _where(here, new_output, before)
                new_states = _kept(here, new_states, states)
            output, states = new_output, new_states
            if self.return_sequences:
                outputs.append(output)
        forget_dropout(self.cell)
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        assert output is not None
        return (F.stack(outputs, axis=1) if self.return_sequences else None), output, states

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = flatten(mask)[0] if mask is not None else None
        output_mask = mask if self.return_sequences else None
        return [output_mask] + [None] * len(flatten(self.cell.state_size)) if self.return_state else output_mask

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch, steps = sequences_shape[:2]
        last = (batch, *lengths(output_size(self.cell)))
        output = (batch, steps, *last[1:]) if self.return_sequences else last
        if not self.return_state:
            return output
        sizes = self.cell.state_size
        sizes = sizes if isinstance(sizes, (list, tuple)) else [sizes]
        return (output, *(map_structure(lambda n: (batch, n), size) for size in sizes))

    def get_config(self) -> dict[str, Any]:
        from . import serialize

        config = self._flags()
        config["cell"] = serialize(self.cell)
        return {**super().get_config(), **config}

    def _flags(self) -> dict[str, Any]:
        return {
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from . import deserialize

        return cls(**{**config, "cell": deserialize(config["cell"])})


def _of_cell(name: str) -> property:
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's {name}.")


class _Recurrent(RNN):
    """An RNN over one of the three cells: it takes the cell's arguments and those of RNN."""

    cell: _Cell

    def _run(self, x: Tensor, states: Any, mask: Any, training: bool | None) -> tuple[Tensor | None, Tensor, list]:
        cell = self.cell
        if not cell.fused_activation or (training and cell.recurrent_dropout):
            return super()._run(x, states, mask, training)
        outputs, states = cell.sequence(cell._drop_sequence(x, training), states, mask)
        return outputs, states[0], states

    def get_config(self) -> dict[str, Any]:
        return {**self.cell.get_config(), **Layer.get_config(self), **self._flags()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    units = _of_cell("units")
    activation = _of_cell("activation")
    use_bias = _of_cell("use_bias")
    kernel_initializer = _of_cell("kernel_initializer")
    recurrent_initializer = _of_cell("recurrent_initializer")
    bias_initializer = _of_cell("bias_initializer")
    kernel_regularizer = _of_cell("kernel_regularizer")
    recurrent_regularizer = _of_cell("recurrent_regularizer")
    bias_regularizer = _of_cell("bias_regularizer")
    kernel_constraint = _of_cell("kernel_constraint")
    recurrent_constraint = _of_cell("recurrent_constraint")
    bias_constraint = _of_cell("bias_constraint")
    dropout = _of_cell("dropout")
    recurrent_dropout = _of_cell("recurrent_dropout")


class SimpleRNN(_Recurrent):
    """The fully connected recurrent layer (Elman 1990): h ← activation(x · kernel + h · recurrent_kernel + bias).

    x `[N, T, I]`; kernel `[I, H]`, recurrent_kernel `[H, H]`, bias `[H]`; y `[N, H]`, or `[N, T, H]` with
    return_sequences.
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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        cell = SimpleRNNCell(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, dtype=kwargs.get("dtype"), name="simple_rnn_cell",
        )  # fmt: skip
        super().__init__(
            cell, return_sequences, return_state, go_backwards, stateful, unroll,
            activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.input_spec = InputSpec(ndim=3)


class LSTM(_Recurrent):
    """Long short-term memory: c ← f ⊗ c + i ⊗ g, h ← o ⊗ tanh(c), the gates from x, h and a bias.

    x `[N, T, I]`; kernel `[I, 4H]`, recurrent_kernel `[H, 4H]`, bias `[4H]`, gates in the order i · f · c · o;
    y `[N, H]`, or `[N, T, H]` with return_sequences; states h and c.
    """

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        cell = LSTMCell(
            units, activation, recurrent_activation, use_bias, kernel_initializer,
            recurrent_initializer, bias_initializer, unit_forget_bias, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout, seed, dtype=kwargs.get("dtype"),
            name="lstm_cell",
        )  # fmt: skip
        super().__init__(
            cell, return_sequences, return_state, go_backwards, stateful, unroll,
            activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.input_spec = InputSpec(ndim=3)

    recurrent_activation = _of_cell("recurrent_activation")
    unit_forget_bias = _of_cell("unit_forget_bias")


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014): h ← z ⊗ h + (1 − z) ⊗ g, the gates from x, h and a bias.

    x `[N, T, I]`; kernel `[I, 3H]`, recurrent_kernel `[H, 3H]`, bias `[2, 3H]` (`[3H]` without reset_after), gates in
    the order z · r · h; y `[N, H]`, or `[N, T, H]` with return_sequences.
    """

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        cell = GRUCell(
            units, activation, recurrent_activation, use_bias, kernel_initializer,
            recurrent_initializer, bias_initializer, kernel_regularizer, recurrent_regularizer,
            bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout, reset_after, seed, dtype=kwargs.get("dtype"), name="gru_cell",
        )  # fmt: skip
        super().__init__(
            cell, return_sequences, return_state, go_backwards, stateful, unroll,
            activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.input_spec = InputSpec(ndim=3)

    recurrent_activation = _of_cell("recurrent_activation")
    reset_after = _of_cell("reset_after")


def _none_before_the_first(outputs: Tensor | None, last: Tensor, counts: Tensor) -> tuple[Tensor | None, Tensor]:
    """Outputs `[N, T, ...]` and the last one, 0 before the first step that counts, whatever the states were."""
    batch, steps = counts.shape
    until = as_tensor(np.triu(np.ones((steps, steps), counts.dtype)))
    begun = F.cast(F.greater(F.matmul(counts, until), 0.0), counts.dtype)
    if outputs is not None:
        outputs = outputs * F.reshape(begun, (batch, steps, *(1,) * (outputs.ndim - 2)))
    return outputs, last * F.reshape(begun[:, -1], (batch, *(1,) * (last.ndim - 1)))


def _kept(steps: Tensor, new: Any, old: Any) -> Any:
    """New states where a step counts, the old ones elsewhere."""
    remaining = iter(flatten(old))
    return map_structure(lambda state: _where(steps, state, next(remaining)), new)


def _where(steps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return F.where(F.reshape(steps, (steps.shape[0], *(1,) * (a.ndim - 1))), a, b)
