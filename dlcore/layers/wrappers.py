"""Layers around another layer: every time step, or both directions of time."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor, as_tensor
from .arguments import one_of
from .base import Layer
from .input_spec import InputSpec


class Wrapper(Layer):
    """A layer that holds one other layer."""

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"layer of {type(self).__name__} must be a Layer, got {layer!r}")
        super().__init__(**kwargs)
        self.layer = layer

    def get_config(self) -> dict[str, Any]:
        from . import serialize

        return {**super().get_config(), "layer": serialize(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from . import deserialize

        return cls(**{**config, "layer": deserialize(config["layer"])})


class TimeDistributed(Wrapper):
    """Applies a layer to every time step of x `[N, T, ...]`.

    All N·T steps go through it as one batch, but each step by itself where samples of a batch matter to one another:
    where the layer is, or has within it, a BatchNormalization in training.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.supports_masking = True
        self._real_inputs = layer._real_inputs

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 3:
            raise ValueError(f"{self._said} expected an input [N, T, ...] of rank 3 or more, got shape {input_shape}")
        if not self.layer.built:
            self.layer.build((input_shape[0], *input_shape[2:]))
            self.layer.built = True
        self.input_spec = InputSpec(ndim=len(input_shape))

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        batch, steps = inputs.shape[:2]
        if mask is not None and tuple(mask.shape[:2]) != (batch, steps):
            raise ValueError(f"mask of {self._said} must start with {(batch, steps)}, got shape {tuple(mask.shape)}")
        mask = None if mask is None else as_tensor(mask)
        if training and any(part._mixes_samples for part in self.layer._flatten_layers()):
            return F.stack(
                [self._inner(inputs[:, t], training, None if mask is None else mask[:, t]) for t in range(steps)], 1
            )
        flat = F.reshape(inputs, (batch * steps, *inputs.shape[2:]))
        y = self._inner(flat, training, None if mask is None else F.reshape(mask, (batch * steps, *mask.shape[2:])))
        return F.reshape(y, (batch, steps, *y.shape[1:]))

    def _inner(self, x: Tensor, training: bool | None, mask: Tensor | None) -> Tensor:
        kwargs: dict[str, Any] = {}
        if self.layer._call_signature.has_training:
            kwargs["training"] = training
        if mask is not None and self.layer._call_signature.has_mask:
            kwargs["mask"] = mask.data
        return self.layer.call(x, **kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (inner[0], input_shape[1], *inner[1:])


class Bidirectional(Layer):
    """A recurrent layer run in both directions of time.

    Args:
        layer: an RNN, LSTM, GRU, …; the wrapper makes two new layers from its config.
        merge_mode: "concat", "sum", "mul", "ave", or None to give both outputs.
        backward_layer: another layer for the way back, with go_backwards the other way round.
    """

    _real_inputs = True

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        from . import deserialize, serialize

        if not isinstance(layer, Layer) or not hasattr(layer, "go_backwards"):
            raise ValueError(f"layer of Bidirectional must be a recurrent layer, got {layer!r}")
        if backward_layer is not None and not isinstance(backward_layer, Layer):
            raise ValueError(f"backward_layer of Bidirectional must be a recurrent layer, got {backward_layer!r}")
        merge_mode = one_of(merge_mode, "merge_mode of Bidirectional", ("concat", "sum", "mul", "ave", None))
        super().__init__(**kwargs)

        def twin(direction: str, **changes: Any) -> Any:
            config = serialize(layer)
            name = f"{direction}_{layer.name.removeprefix(direction + '_')}"
            config = {**config, "name": name, "config": {**config["config"], "name": name, **changes}}
            return deserialize(config, {type(part).__name__: type(part) for part in layer._flatten_layers()})

        self.forward_layer: Any = twin("forward")
        # like Keras: the way back runs from the end unless a layer of one's own says otherwise
        self.backward_layer: Any = twin("backward", go_backwards=True) if backward_layer is None else backward_layer
        forward: Any = self.forward_layer
        backward: Any = self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "layer and backward_layer of Bidirectional must differ in go_backwards, "
                f"both have {forward.go_backwards}"
            )
        for attribute in ("stateful", "return_sequences", "return_state"):
            if getattr(forward, attribute) != getattr(backward, attribute):
                raise ValueError(
                    f"layer and backward_layer of Bidirectional must agree in {attribute}, got "
                    f"{getattr(forward, attribute)} and {getattr(backward, attribute)}"
                )
        for part in (forward, backward):
            part.zero_output_for_mask = part.return_sequences
        self.merge_mode = merge_mode
        self.stateful = forward.stateful
        self.return_sequences = forward.return_sequences
        self.return_state = forward.return_state
        self.supports_masking = True
        self.input_spec = forward.input_spec
        self._first_weights = weights

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        for part in (self.forward_layer, self.backward_layer):
            if not part.built:
                part.build(sequences_shape)
        self.input_spec = self.forward_layer.input_spec
        if self._first_weights is not None:
            self.set_weights(self._first_weights)

    def reset_state(self) -> None:
        """Start the next batch of a stateful layer from zeros."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        first = second = None
        if initial_state is not None:
            if len(initial_state) % 2:
                raise ValueError(f"initial_state of {self._said} must hold as many states for each direction")
            half = len(initial_state) // 2
            first, second = initial_state[:half], initial_state[half:]
        y = self.forward_layer.call(sequences, initial_state=first, mask=mask, training=training)
        z = self.backward_layer.call(sequences, initial_state=second, mask=mask, training=training)
        states: tuple = ()
        if self.return_state:
            states = (*y[1:], *z[1:])
            y, z = y[0], z[0]
        if self.return_sequences:
            z = F.flip(z, 1)
        if self.merge_mode == "concat":
            merged: tuple = (F.concatenate([y, z], -1),)
        elif self.merge_mode == "sum":
            merged = (y + z,)
        elif self.merge_mode == "ave":
            merged = ((y + z) * 0.5,)
        elif self.merge_mode == "mul":
            merged = (y * z,)
        else:
            merged = (y, z)
        outputs = (*merged, *states)
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask if self.return_sequences else None
        outputs = [mask] if self.merge_mode else [mask, mask]
        states = len(self.forward_layer.compute_mask(inputs, None)) - 1 if self.return_state else 0
        masks = [*outputs, *[None] * (2 * states)]
        return masks if len(masks) > 1 else masks[0]

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        shape = self.forward_layer.compute_output_shape(sequences_shape)
        states: tuple = ()
        if self.return_state:
            shape, states = shape[0], tuple(shape[1:]) * 2
        if self.merge_mode == "concat":
            shape = (*shape[:-1], shape[-1] * 2)
        outputs = ((shape,) if self.merge_mode else (shape, shape)) + states
        return outputs if len(outputs) > 1 else outputs[0]

    def get_config(self) -> dict[str, Any]:
        from . import serialize

        return {
            **super().get_config(),
            "layer": serialize(self.forward_layer),
            "backward_layer": serialize(self.backward_layer),
            "merge_mode": self.merge_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Bidirectional:
        from . import deserialize

        layers = {key: deserialize(config[key]) for key in ("layer", "backward_layer")}
        return cls(**{**config, **layers})
