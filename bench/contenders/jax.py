"""JAX, jitted: NHWC, parameters and optimizer state donated, recurrences by scan (also with steps unrolled)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cases import ADAM_EPSILON, EPSILON, GATES, LEARNING_RATE, MOMENTUM, Case, Node, Weights

from . import Run, Variants

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}
UNROLLED = 10  # steps of a sequence


def variants(name: str, threads: int, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Variants:
    make = {"train": _train, "infer": _infer, "layer": _layer}[case.task]
    unrolls = {"scan": 1, f"scan, {UNROLLED} steps unrolled": UNROLLED} if x.ndim == 3 else {"jit": 1}
    return {
        label: partial(make, partial(_forward, case, unroll), case, weights, jnp.asarray(x), jnp.asarray(y))
        for label, unroll in unrolls.items()
    }


def _forward(case: Case, unroll: int, p: dict[str, Array], x: Array, training: bool) -> Array:
    values = {-1: x}
    for place, node in enumerate(case.network.nodes):
        own = {parameter: p[f"{place}.{parameter}"] for parameter in node.parameters()}
        out = _layer_of(node, [values[i] for i in node.inputs], own, training, unroll)
        if node.kind in ("conv", "dense") and node.activation in ACTIVATIONS:
            out = ACTIVATIONS[node.activation](out)
        values[place] = out
    return values[case.network.last]


def _layer_of(node: Node, inputs: list[Array], own: dict[str, Array], training: bool, unroll: int) -> Array:
    x = inputs[0]
    if node.kind == "conv":
        pads = [(node.pad, node.pad)] * 2
        y = lax.conv_general_dilated(
            x, own["kernel"], (node.stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + own["bias"] if node.bias else y
    if node.kind == "dense":
        return x @ own["kernel"] + own["bias"]
    if node.kind in GATES:
        return _recurrent(node, x, own, unroll)
    if node.kind in ("maxpool", "avgpool"):
        return _pool(node, x)
    if node.kind == "batchnorm":
        mean, variance = (jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))) if training else (
            own["moving_mean"], own["moving_variance"])  # fmt: skip
        scale = own["gamma"] * lax.rsqrt(variance + EPSILON)
        return x * scale + (own["beta"] - mean * scale)
    simple: dict[str, Callable[[], Array]] = {
        "add": lambda: x + inputs[1],
        "relu": lambda: jax.nn.relu(x),
        "flatten": lambda: x.reshape(x.shape[0], -1),
        "global_average": lambda: jnp.mean(x, (1, 2)),
    }
    return simple[node.kind]()


def _pool(node: Node, x: Array) -> Array:
    n, _, _, channels = x.shape
    (h, w, _), k = node.shape, node.size
    if k == node.stride and not node.pad:  # by a reshape, whose gradient is far cheaper than select-and-scatter
        tiles = x[:, : h * k, : w * k].reshape(n, h, k, w, k, channels)
        return jnp.max(tiles, (2, 4)) if node.kind == "maxpool" else jnp.mean(tiles, (2, 4))
    window, strides, pads = (
        (1, k, k, 1),
        (1, node.stride, node.stride, 1),
        [(0, 0), *[(node.pad, node.pad)] * 2, (0, 0)],
    )
    if node.kind == "maxpool":
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, pads)
    return lax.reduce_window(x, 0.0, lax.add, window, strides, pads) / k**2


def _recurrent(node: Node, x: Array, own: dict[str, Array], unroll: int) -> Array:
    bias = own["bias"][0] if node.kind == "gru" else own["bias"]
    projected = jnp.swapaxes(x @ own["kernel"] + bias, 0, 1)
    zeros = jnp.zeros((x.shape[0], node.shape[-1]))

    def simple_rnn(h: Array, z: Array) -> tuple[Array, None]:
        return jnp.tanh(z + h @ own["recurrent_kernel"]), None

    def lstm(state: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], None]:
        h, c = state
        i, f, g, o = jnp.split(z + h @ own["recurrent_kernel"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    def gru(h: Array, z: Array) -> tuple[Array, None]:
        xz, xr, xh = jnp.split(z, 3, -1)
        hz, hr, hh = jnp.split(h @ own["recurrent_kernel"] + own["bias"][1], 3, -1)
        update, reset = jax.nn.sigmoid(xz + hz), jax.nn.sigmoid(xr + hr)
        return update * h + (1 - update) * jnp.tanh(xh + reset * hh), None

    step: Any = {"simple_rnn": simple_rnn, "lstm": lstm, "gru": gru}[node.kind]
    first: Any = (zeros, zeros) if node.kind == "lstm" else zeros
    last, _ = lax.scan(step, first, projected, unroll=unroll)
    return last[0] if node.kind == "lstm" else last


def _train(forward: Callable[..., Array], case: Case, weights: Weights, x: Array, y: Array) -> Run:
    def loss_of(p: dict[str, Array], x: Array, y: Array) -> Array:
        out = forward(p, x, True)
        if case.loss == "mse":
            return jnp.mean((out - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1))

    update = {"adam": _adam, "sgd": _sgd}[case.optimizer]

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(p: dict[str, Array], state: dict[str, Any], t: Array, x: Array, y: Array) -> tuple:
        loss, gradients = jax.value_and_grad(loss_of)(p, x, y)
        changed = {name: update(p[name], gradients[name], state[name], t + 1) for name in state}
        p = p | {name: new for name, (new, _) in changed.items()}
        return p, {name: new for name, (_, new) in changed.items()}, t + 1, loss

    p = {name: jnp.array(value) for name, value in weights.items()}
    trained = [name for name in p if "moving" not in name]
    slots = {"adam": 2, "sgd": 1}[case.optimizer]
    state = {name: tuple(jnp.zeros_like(p[name]) for _ in range(slots)) for name in trained}
    kept = [p, state, jnp.zeros(())]

    def train() -> float:
        *kept[:], loss = step(*kept, x, y)
        return float(loss)

    return Run(train)


def _adam(p: Array, g: Array, state: tuple[Array, ...], t: Array) -> tuple[Array, tuple[Array, ...]]:
    m, v = 0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g * g
    rate = LEARNING_RATE["adam"] * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return p - rate * m / (jnp.sqrt(v) + ADAM_EPSILON), (m, v)


def _sgd(p: Array, g: Array, state: tuple[Array, ...], t: Array) -> tuple[Array, tuple[Array, ...]]:
    m = MOMENTUM * state[0] + g
    return p - LEARNING_RATE["sgd"] * m, (m,)


def _infer(forward: Callable[..., Array], case: Case, weights: Weights, x: Array, y: Array) -> Run:
    p = {name: jnp.array(value) for name, value in weights.items()}
    call = jax.jit(lambda p, x: jax.nn.softmax(forward(p, x, False)))
    return Run(lambda: call(p, x).block_until_ready())


def _layer(forward: Callable[..., Array], case: Case, weights: Weights, x: Array, y: Array) -> Run:
    p = {name: jnp.array(value) for name, value in weights.items()}
    call = jax.jit(lambda p, x: forward(p, x, True))
    return Run(lambda: call(p, x).block_until_ready())
