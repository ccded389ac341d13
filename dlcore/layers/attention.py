"""Attention of queries `[N, T, ...]` to values `[N, S, ...]` with keys `[N, S, ...]`.

Masks are of bools, False where something does not count: of queries `[N, T]`, of values or keys `[N, S]`, of pairs
`[N, T, S]`. A query that may attend to nothing attends to everything alike.
"""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np

from .. import functional as F
from .. import regularizers
from ..symbolic import Shape, SymbolicTensor
from ..tensor import Tensor, Variable, as_tensor
from .arguments import one_of, positive_int
from .base import Layer
from .einsum import EinsumDense
from .regularization import Dropout

_NEVER = -1e9  # the score of a pair that a mask excludes


def _banded(queries: int, keys: int, causal: bool, window: int | None) -> Tensor | None:
    """1 for the pairs `[1, T, S]` that may attend: none to what comes later if causal, none `window` or more apart."""
    if not causal and window is None:
        return None
    ahead = np.arange(keys) - np.arange(queries)[:, None]
    allowed = ahead <= 0 if causal else np.ones(ahead.shape, bool)
    if window is not None:
        allowed &= np.abs(ahead) < window
    return as_tensor(allowed[None].astype(np.float32))


def _all_of(masks: list[Any]) -> Tensor | None:
    """Where all of the masks that are not None hold, broadcast; None if all are None."""
    parts = [F.cast(as_tensor(mask), "float32") for mask in masks if mask is not None]
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = whole * part
    return whole


def _expanded(mask: Any, axis: int) -> Tensor | None:
    return None if mask is None else F.expand_dims(as_tensor(mask), axis)


def _weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis, of the pairs that a mask lets count."""
    return F.softmax(scores if mask is None else F.where(mask, scores, _NEVER))


class Attention(Layer):
    """Dot-product attention (Luong et al. 2015): softmax(q kᵀ) v, of a list [query, value] or [query, value, key].

    query `[N, T, D]`, value `[N, S, E]`, key `[N, S, D]` (the value if not given); result `[N, T, E]`, with
    return_attention_scores also the weights `[N, T, S]`.

    Args:
        use_scale: learn a factor of the scores.
        score_mode: "dot", or "concat" for w · Σ tanh(scale · (q + k)) with a learned w.
        dropout: share of the weights that is dropped in training.
    """

    _real_inputs = True

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale = use_scale
        self.score_mode = one_of(score_mode, f"score_mode of {type(self).__name__}", ("dot", "concat"))
        self.seed = seed
        self.scale: Variable | None = None
        self._dropped = Dropout(dropout, seed=seed, dtype=self.dtype)
        self.dropout = self._dropped.rate
        self.supports_masking = True

    def _check(self, inputs: Any, mask: Any = None) -> None:
        if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
            raise ValueError(f"{self._said} expected a list [query, value] or [query, value, key], got {inputs!r}")
        if mask is not None and (not isinstance(mask, (list, tuple)) or len(mask) not in (2, 3)):
            raise ValueError(f"mask of {self._said} must be a list [query's mask, value's mask], got {mask!r}")

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores `[N, T, S]`."""
        if self.score_mode == "dot":
            scores = F.matmul(query, key, transpose_b=True)
            return scores if self.scale is None else scores * self.scale
        pairs = F.expand_dims(query, -2) + F.expand_dims(key, -3)
        return self.concat_score_weight * F.sum(F.tanh(pairs if self.scale is None else self.scale * pairs), -1)

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool | None = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._check(inputs, mask)
        query, value, key = inputs[0], inputs[1], inputs[-1] if len(inputs) == 3 else inputs[1]
        query_mask, value_mask = (None, None) if mask is None else mask[:2]
        scores = self._scores(query, key)
        band = _banded(query.shape[-2], key.shape[-2], use_causal_mask, None)
        weights = _weights(scores, _all_of([_expanded(value_mask, -2), band]))
        weights = self._dropped(weights, training=training)
        output = F.matmul(weights, value)
        if query_mask is not None:
            output = F.where(_expanded(query_mask, -1), output, 0.0)
        return (output, weights) if return_attention_scores else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None if mask is None else mask[0]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self._check(input_shape)
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        output = super().compute_output_spec(*args, **kwargs)
        bound = self._bound(args, kwargs)
        if not bound.get("return_attention_scores"):
            return output
        query, key = bound["inputs"][0], bound["inputs"][-1]
        return output, SymbolicTensor((*query.shape[:-1], key.shape[-2]), self._dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class AdditiveAttention(Attention):
    """Additive attention (Bahdanau et al. 2015): scores Σ scale · tanh(q + k), scale `[D]` learned if use_scale.

    Inputs and outputs are those of `Attention`.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        pairs = F.tanh(F.expand_dims(query, -2) + F.expand_dims(key, -3))
        return F.sum(pairs if self.scale is None else self.scale * pairs, -1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config


class _HeadedAttention(Layer):
    """Attention by several heads, each group of which has one projection of keys and values."""

    _real_inputs = True

    def __init__(
        self,
        heads: int,
        groups: int,
        dropout: float,
        use_bias: bool,
        sliding_window: int | None,
        flash_attention: bool | None,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        use_gate: bool,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        self._heads, self._groups = heads, groups
        self.use_bias = use_bias
        if flash_attention:
            raise ValueError(f"flash_attention of {kind} must be False: there is one way to compute attention here")
        self.sliding_window = (
            None if sliding_window is None else positive_int(sliding_window, f"sliding_window of {kind}")
        )
        self.use_gate = use_gate
        self.seed = seed
        self._take_weight_arguments("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self._take_weight_arguments("bias", bias_initializer, bias_regularizer, bias_constraint)
        self._of_projections = regularizers.get(activity_regularizer)
        self._dropped = Dropout(dropout, seed=seed, dtype=self.dtype)
        self.dropout = self._dropped.rate
        self.supports_masking = True

    def _lengths(self, query_shape: Shape) -> tuple[int, int, tuple[int, ...]]:
        """Lengths of a head's keys and values, and the shape of an output."""
        raise NotImplementedError

    def _projection(self, name: str, equation: str, shape: tuple, activation: Any = None) -> EinsumDense:
        kinds = ("initializer", "regularizer", "constraint")
        arguments = {f"{w}_{k}": getattr(self, f"{w}_{k}") for w in ("kernel", "bias") for k in kinds}
        made = equation.rpartition("->ab")[2]
        dense = EinsumDense(
            equation, (None, *shape), activation, made if self.use_bias else None, **arguments,
            activity_regularizer=self._of_projections, dtype=self.dtype, name=name,
        )  # fmt: skip
        dense.supports_masking = True  # masks are seen to here
        return dense

    def build(  # type: ignore[override]
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> None:
        self.compute_output_shape(query_shape, value_shape, key_shape)
        keys, values, output = self._lengths(query_shape)
        into = "abc,cde->abde"
        self.query_dense = self._projection("query", into, (self._heads, keys))
        self.key_dense = self._projection("key", into, (self._groups, keys))
        parts = [(self.query_dense, query_shape), (self.key_dense, value_shape if key_shape is None else key_shape)]
        if self.use_gate:
            self._gate_dense = self._projection("gate", into, (self._heads, values), "sigmoid")
            parts.append((self._gate_dense, query_shape))
        self.value_dense = self._projection("value", into, (self._groups, values))
        made = string.ascii_lowercase[4 : 4 + len(output)]
        self.output_dense = self._projection("attention_output", f"abcd,cd{made}->ab{made}", output)
        parts += [(self.value_dense, value_shape), (self.output_dense, (*query_shape[:2], self._heads, values))]
        for part, shape in parts:
            part.build(shape)

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        key = value if key is None else key
        band = _banded(query.shape[1], value.shape[1], use_causal_mask, self.sliding_window)
        mask = _all_of(
            [_expanded(query_mask, -1), _expanded(value_mask, -2), _expanded(key_mask, -2), attention_mask, band]
        )
        gate = self._gate_dense(query) if self.use_gate else None
        q = self.query_dense(query)
        q = q * (1.0 / math.sqrt(q.shape[-1]))
        attended, weights = self._attend(q, self.key_dense(key), self.value_dense(value), mask, training)
        output = self.output_dense(attended if gate is None else attended * gate)
        return (output, weights) if return_attention_scores else output

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, training: bool | None) -> tuple:
        """Outputs of the heads `[N, T, H, E]` and weights `[N, H, T, S]`, from q `[N, T, H, D]`, k `[N, S, G, D]` and
        v `[N, S, G, E]`: the H / G heads of a group are more queries to the same keys."""
        n, t, heads, _ = q.shape
        s, groups, e = v.shape[1:]
        each = heads // groups
        q = F.transpose(F.reshape(q, (n, t, groups, each, q.shape[-1])), (0, 2, 3, 1, 4))
        k, v = F.transpose(k, (0, 2, 1, 3)), F.transpose(v, (0, 2, 1, 3))
        scores = F.matmul(F.reshape(q, (n, groups, each * t, q.shape[-1])), k, transpose_b=True)
        if mask is not None and mask.ndim < 4:
            mask = F.expand_dims(mask, -3)
        weights = _weights(F.reshape(scores, (n, heads, t, s)), mask)
        kept = F.reshape(self._dropped(weights, training=training), (n, groups, each * t, s))
        attended = F.reshape(F.matmul(kept, v), (n, heads, t, e))
        return F.transpose(attended, (0, 2, 1, 3)), weights

    def compute_output_shape(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> Shape:
        key_shape = value_shape if key_shape is None else key_shape
        for name, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            if len(shape) != 3:
                raise ValueError(f"{self._said} expected a {name} [N, T, D] of rank 3, got shape {tuple(shape)}")
        if value_shape[1] != key_shape[1]:
            raise ValueError(
                f"{self._said} expected as many values as keys, got value {tuple(value_shape)}, key {tuple(key_shape)}"
            )
        return (*query_shape[:2], *self._lengths(query_shape)[2])

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        output = super().compute_output_spec(*args, **kwargs)
        bound = self._bound(args, kwargs)
        if not bound.get("return_attention_scores"):
            return output
        query, value = bound["query"].shape, bound["value"].shape
        return output, SymbolicTensor((query[0], self._heads, query[1], value[1]), self._dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "sliding_window": self.sliding_window,
            "activity_regularizer": regularizers.serialize(self._of_projections),
            "seed": self.seed,
        }


class MultiHeadAttention(_HeadedAttention):
    """softmax(q kᵀ / √key_dim) v by `num_heads` heads, each with projections of its own (Vaswani et al. 2017).

    query `[N, T, D]`, value `[N, S, E]`, key `[N, S, F]` (the value if not given); result `[N, T, D]`, with
    return_attention_scores also the weights `[N, num_heads, T, S]` before dropout. Weights, with their biases: query
    `[D, num_heads, key_dim]`, key `[F, num_heads, key_dim]`, gate, value `[E, num_heads, value_dim]`, output
    `[num_heads, value_dim, ...]`.

    Args:
        key_dim, value_dim: lengths of a head's queries and keys, and of its values (key_dim if None).
        dropout: share of the weights that is dropped in training.
        output_shape: lengths of an output; the query's if None.
        attention_axes: 1, or None for it: attention is along the steps of sequences.
        sliding_window: a query attends to keys less than so many steps away.
        use_gate: multiply what heads give by sigmoids of projected queries.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_heads = positive_int(num_heads, "num_heads of MultiHeadAttention")
        super().__init__(
            num_heads, num_heads, dropout, use_bias, sliding_window, flash_attention, kernel_initializer,
            bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
            bias_constraint, use_gate, seed, **kwargs,
        )  # fmt: skip
        self.key_dim = positive_int(key_dim, "key_dim of MultiHeadAttention")
        self.value_dim = positive_int(key_dim if value_dim is None else value_dim, "value_dim of MultiHeadAttention")
        if attention_axes not in (None, 1, (1,), [1]):
            raise ValueError(f"attention_axes of MultiHeadAttention must be None or 1, got {attention_axes!r}")
        self.attention_axes = attention_axes
        lengths = (output_shape,) if isinstance(output_shape, (int, np.integer)) else output_shape
        self._given_shape = tuple(positive_int(n, "output_shape of MultiHeadAttention") for n in lengths or ())

    def _lengths(self, query_shape: Shape) -> tuple[int, int, tuple[int, ...]]:
        return self.key_dim, self.value_dim, self._given_shape or query_shape[2:]  # type: ignore[return-value]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_shape": list(self._given_shape) or None,
            "attention_axes": self.attention_axes,
        }


class GroupedQueryAttention(_HeadedAttention):
    """Attention by heads that share keys and values in groups (Ainslie et al. 2023).

    query `[N, T, D]`, value and key `[N, S, D]`; result `[N, T, D]`, with return_attention_scores also the weights
    `[N, num_query_heads, T, S]`. Heads u of the queries belong to key and value head u // (num_query_heads /
    num_key_value_heads). The other arguments are those of `MultiHeadAttention`.
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        kind = type(self).__name__
        self.head_dim = positive_int(head_dim, f"head_dim of {kind}")
        self.num_query_heads = positive_int(num_query_heads, f"num_query_heads of {kind}")
        self.num_key_value_heads = positive_int(num_key_value_heads, f"num_key_value_heads of {kind}")
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                f"num_query_heads of {kind} must be a multiple of num_key_value_heads, "
                f"got {num_query_heads} and {num_key_value_heads}"
            )
        super().__init__(
            num_query_heads, num_key_value_heads, dropout, use_bias, sliding_window, flash_attention,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, use_gate, seed, **kwargs,
        )  # fmt: skip

    def _lengths(self, query_shape: Shape) -> tuple[int, int, tuple[int, ...]]:
        return self.head_dim, self.head_dim, query_shape[2:]  # type: ignore[return-value]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
        }


GroupQueryAttention = GroupedQueryAttention
