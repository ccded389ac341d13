"""Differentiable ops, each a primitive of the backend and its gradient.

An op checks its arguments, allocates the result, calls the active engine's kernel and notes on the tape how a gradient
travels back. Arguments may be Tensors, or anything a Tensor can be made of; on symbolic tensors an op becomes a node of
the functional graph. Wrong shapes raise ValueError, wrong dtypes TypeError, naming the argument and what was expected.
"""

from .activations import (
    activation,
    elu,
    exponential,
    gelu,
    hard_sigmoid,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    step,
    tanh,
)
from .convolution import conv2d, conv2d_transpose
from .dense import linear, matmul
from .elementwise import (
    abs,
    add,
    clip,
    cos,
    divide,
    equal,
    exp,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    multiply,
    neg,
    not_equal,
    power,
    reciprocal,
    sign,
    sin,
    sqrt,
    square,
    subtract,
    where,
)
from .lookup import embedding
from .losses import sigmoid_cross_entropy, softmax_cross_entropy
from .noise import dropout
from .normalization import batchnorm, layernorm
from .pooling import avg_pool2d, global_avg_pool2d, global_max_pool2d, max_pool2d
from .recurrence import gru, gru_cell, lstm, lstm_cell, simple_rnn, simple_rnn_cell
from .reduction import argmax, max, mean, min, sum
from .shaping import (
    broadcast_to,
    cast,
    concatenate,
    expand_dims,
    flatten,
    flip,
    getitem,
    one_hot,
    pad,
    reshape,
    squeeze,
    stack,
    stop_gradient,
    transpose,
)

__all__ = [
    "abs", "activation", "add", "argmax", "avg_pool2d", "batchnorm", "broadcast_to", "cast", "clip", "concatenate",
    "conv2d", "conv2d_transpose", "cos", "divide", "dropout", "elu", "embedding", "equal", "exp", "expand_dims",
    "exponential", "flatten", "flip", "gelu", "getitem", "global_avg_pool2d", "global_max_pool2d", "greater",
    "greater_equal", "gru", "gru_cell", "hard_sigmoid", "layernorm", "leaky_relu", "less", "less_equal", "linear",
    "log", "log_softmax", "lstm", "lstm_cell", "matmul", "max", "max_pool2d", "maximum", "mean", "min", "minimum",
    "multiply", "neg", "not_equal", "one_hot", "pad", "power", "prelu", "reciprocal", "relu", "relu6", "reshape",
    "selu", "sigmoid", "sigmoid_cross_entropy", "sign", "silu", "simple_rnn", "simple_rnn_cell", "sin", "softmax",
    "softmax_cross_entropy", "softplus", "softsign", "sqrt", "square", "squeeze", "stack", "step", "stop_gradient",
    "subtract", "sum", "tanh", "transpose", "where",
]  # fmt: skip
