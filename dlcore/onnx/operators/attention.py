"""Attention by products and softmax, and the rotation of its inputs by their places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from .graph import Node, Unsupported, Value, limit


def _heads(n: Node, x: Any, count: int | None) -> Any:
    """[N, T, heads · D] as [N, heads, T, D]; what is that already, as it is."""
    if len(x.shape) == 4:
        return x
    batch, steps, width = x.shape
    n.refuse(batch is None and steps is None, "several lengths that vary")
    if not count or width % count:
        raise ValueError(f"{width} features cannot be split into {count} heads")
    lengths = [-1 if length is None else length for length in (batch, steps, count, width // count)]
    return F.transpose(F.reshape(x, lengths), (0, 2, 1, 3))


def _merged(x: Any) -> Any:
    """The opposite."""
    batch, heads, steps, width = x.shape
    if batch is None and steps is None:
        raise Unsupported("several lengths that vary")
    return F.reshape(F.transpose(x, (0, 2, 1, 3)), [-1 if m is None else m for m in (batch, steps, heads * width)])


def _repeated(x: Any, count: int) -> Any:
    """Each head so many times, for queries that share it (Ainslie et al., GQA, 2023)."""
    if count == 1:
        return x
    limit((x.shape[1], count), 4096)
    heads = [F.getitem(x, (slice(None), slice(h, h + 1))) for h in range(x.shape[1])]
    return F.concatenate([head for head in heads for _ in range(count)], 1)


def _bias(n: Node, scores: Any, past: int | None) -> Any:
    """What is added to scores [N, heads, queries, keys]: −∞ where a query may not look; None for nothing."""
    dtype = scores.dtype.name
    queries, keys = scores.shape[2:]
    allowed: list[Any] = []
    bias: Any = None
    if n.given(3):
        mask = n.value(3)
        if mask.dtype.kind == "b":
            bias = F.where(mask.to(), np.zeros((), dtype), np.full((), -math.inf, dtype))
        else:
            bias = n.real(3).to()
        short = keys - bias.shape[-1]
        bias = F.pad(bias, [(0, 0)] * (len(bias.shape) - 1) + [(0, short)], -math.inf) if short > 0 else bias
    left, right = n.attribute("left_window_size", -1), n.attribute("right_window_size", -1)
    causal = bool(n.attribute("is_causal", 0))
    used = F.reshape(n.value(6).to(), (-1, 1, 1, 1)) if n.given(6) else None
    if causal or left >= 0 or right >= 0:
        n.refuse(queries is None or keys is None, "lengths that vary and is_causal")
        ahead: Any = np.subtract.outer(np.arange(queries), np.arange(keys))[None, None]  # of a query before a key
        if used is not None:
            ahead = used + (ahead - queries)
        else:
            ahead = ahead + (past or 0)
        allowed += [ahead >= 0] if causal else []
        allowed += [ahead <= left] if left >= 0 else []
        allowed += [ahead >= -right] if right >= 0 else []
    if used is not None:
        n.refuse(keys is None, "lengths that vary and nonpad_kv_seqlen")
        allowed.append(F.less(np.arange(keys).reshape(1, 1, 1, keys), used))
    for condition in allowed:
        wall = (
            np.where(condition, 0, -math.inf).astype(dtype)
            if isinstance(condition, np.ndarray)
            else F.where(condition, np.zeros((), dtype), np.full((), -math.inf, dtype))
        )
        bias = wall if bias is None else bias + wall
    return bias


def _attention(n: Node) -> list[Value]:
    """Y, the keys and values with those of the past, and the scores (Vaswani et al. 2017, section 3.2.1)."""
    flat = len(n.real(0).shape) == 3
    q = _heads(n, n.real(0).to(), n.attribute("q_num_heads"))
    k, v = (_heads(n, n.real(i).to(), n.attribute("kv_num_heads")) for i in (1, 2))
    past = None
    if n.given(4):
        past = n.real(4).shape[2]
        n.refuse(past is None and n.attribute("is_causal", 0), "a past whose length varies")
        k, v = F.concatenate([n.real(4).to(), k], 2), F.concatenate([n.real(5).to(), v], 2)
    present = [Value(k), Value(v)]
    count = q.shape[1] // k.shape[1]
    k, v = _repeated(k, count), _repeated(v, count)
    limit([*q.shape[:3], k.shape[2]])
    scale = n.attribute("scale") or 1 / math.sqrt(q.shape[3])
    scores = F.matmul(q, k, transpose_b=True) * scale
    kind = n.attribute("qk_matmul_output_mode", 0)
    shown = scores
    cap = n.attribute("softcap", 0.0)
    scores = F.tanh(scores * (1 / cap)) * cap if cap else scores
    shown = scores if kind == 1 else shown
    bias = _bias(n, scores, past)
    if bias is None:
        shares = F.softmax(scores)
    else:
        scores = scores + bias
        nothing = (
            F.equal(F.max(bias, axis=-1, keepdims=True), -math.inf)
            if not isinstance(bias, np.ndarray)
            else (bias.max(-1, keepdims=True) == -math.inf)
        )
        shares = F.where(nothing, 0.0, F.softmax(scores))
    shown = scores if kind == 2 else shares if kind == 3 else shown
    y = F.matmul(shares, v)
    return [Value(_merged(y) if flat else y), *present, Value(shown)]


def _rotary(n: Node) -> Value:
    """Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), section 3.4.2."""
    flat = len(n.real().shape) == 3
    x = _heads(n, n.real().to(), n.attribute("num_heads"))
    width = n.attribute("rotary_embedding_dim", 0) or x.shape[3]
    cos, sin = n.real(1).to(), n.real(2).to()
    if n.given(3):
        cos, sin = F.embedding(n.value(3).to(), cos), F.embedding(n.value(3).to(), sin)
    cos, sin = F.expand_dims(cos, 1), F.expand_dims(sin, 1)  # [N, 1, T, width / 2]
    if n.attribute("interleaved", 0):
        a, b = F.getitem(x, (..., slice(0, width, 2))), F.getitem(x, (..., slice(1, width, 2)))
    else:
        a, b = F.getitem(x, (..., slice(0, width // 2))), F.getitem(x, (..., slice(width // 2, width)))
    turned = [cos * a - sin * b, sin * a + cos * b]
    if n.attribute("interleaved", 0):
        shape = [-1 if length is None else length for length in (*x.shape[:3], width)]
        y = F.reshape(F.stack(turned, axis=-1), shape)
    else:
        y = F.concatenate(turned, -1)
    y = F.concatenate([y, F.getitem(x, (..., slice(width, None)))], -1) if width < x.shape[3] else y
    return Value(_merged(y) if flat else y)


OPERATORS: dict[str, Callable[[Node], Any]] = {"Attention": _attention, "RotaryEmbedding": _rotary}
