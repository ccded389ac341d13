"""Cases of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.backends.interface import signature

from .table import Arguments, Out, Rng, _add, _gradient, _kernel, _label, _maybe, _n, _switch

# N, T, I, H
_SEQUENCES = (
    (1, 1, 1, 1), (2, 3, 1, 3), (3, 5, 4, 8), (5, 2, 17, 16), (4, 7, 3, 17), (6, 4, 8, 33), (17, 3, 16, 64),
    (1, 9, 5, 5), (33, 2, 6, 8), (0, 3, 4, 5), (7, 1, 12, 24), (16, 3, 40, 70), (35, 3, 33, 47), (48, 2, 64, 96),
    (3, 4, 5, 0), (6, 4, 0, 33), (20, 3, 0, 70),
)  # fmt: skip


def add_cases() -> None:
    kinds = _switch(("tanh", "relu", "sigmoid", "linear"))
    for number, (n, t, i, h) in enumerate(_SEQUENCES):
        for masked in (False, True):
            number += masked
            bias, accumulate, all_wanted, kind = number % 3 != 1, number % 2 == 1, number % 4 != 2, next(kinds)
            label = _label(n=n, t=t, i=i, h=h, mask=masked, bias=bias)
            variants = [("simple_rnn", 1, {"activation": kind}), ("lstm", 4, {})]
            variants += [("gru", 3, {"reset_after": True}), ("gru", 3, {"reset_after": False})]
            for cell, gates, attributes in variants:
                common = (cell, n, t, i, h, gates, bias, masked, attributes)

                def forward(rng: Rng, common=common) -> Arguments:
                    return _recurrent_forward(rng, *common)

                def backward(rng: Rng, common=common, accumulate=accumulate, all_wanted=all_wanted) -> Arguments:
                    return _recurrent_backward(rng, accumulate, all_wanted, *common)

                kinds_of = "".join(f",{v if isinstance(v, str) else f'{k}={v}'}" for k, v in attributes.items())
                defined = {"gates": _unmasked} if masked and cell != "simple_rnn" else {}
                _add(cell, label + kinds_of, forward, defined=defined)
                if cell != "simple_rnn":

                    def inference(rng: Rng, common=common) -> Arguments:
                        return {**_recurrent_forward(rng, *common), "gates": None}

                    _add(cell, f"{label}{kinds_of},inference", inference)
                _add(
                    f"{cell}_backward", f"{label}{kinds_of},accumulate={accumulate},all={all_wanted}", backward,
                    floor=1e-3,
                )  # fmt: skip


def _unmasked(arguments: Arguments) -> np.ndarray:
    return arguments["mask"][:, :, None] != 0


def _recurrent_forward(
    rng: Rng,
    cell: str,
    n: int,
    t: int,
    i: int,
    h: int,
    gates: int,
    bias: bool,
    masked: bool,
    attributes: Arguments,
) -> Arguments:
    b_shape = (2, gates * h) if attributes.get("reset_after") else (gates * h,)
    mask = (rng.random((n, t)) < 0.6).astype(np.uint8)
    arguments = {"x": _n(rng, n, t, i), "h0": _n(rng, n, h) * 0.5}
    if cell == "lstm":
        arguments["c0"] = _n(rng, n, h) * 0.5
    arguments |= {
        "w": _n(rng, i, gates * h) / np.sqrt(max(i, 1)), "u": _n(rng, h, gates * h) * 0.7 / np.sqrt(max(h, 1)),
        "b": _maybe(bias, _n(rng, *b_shape) * 0.5), "mask": _maybe(masked, mask), "h": Out((n, t, h)),
    }  # fmt: skip
    if cell == "lstm":
        arguments["c"] = Out((n, t, h))
    if cell != "simple_rnn":
        arguments["gates"] = Out((n, t, 4 * h))
    return arguments | attributes


def _recurrent_backward(rng: Rng, accumulate: bool, all_wanted: bool, cell: str, *shape: Any) -> Arguments:
    """The forward's arrays, with any finite numbers as the gates of masked steps, and random output gradients."""
    forward = _recurrent_forward(rng, cell, *shape)
    n, t, i, h, _, bias, masked, attributes = shape
    forward = {k: np.zeros(v.shape) if isinstance(v, Out) else v for k, v in forward.items()}
    _kernel(cell)(*(forward[name] for name in signature(cell).parameters))
    if masked and cell != "simple_rnn":
        skipped = np.broadcast_to(forward["mask"][:, :, None] == 0, forward["gates"].shape)
        forward["gates"][skipped] = _n(rng, int(skipped.sum()))
    b = np.zeros((2, 3 * h)) if attributes.get("reset_after") else np.zeros(forward["w"].shape[1])
    return {
        **{k: v for k, v in forward.items() if k != "b"}, "dh": _n(rng, n, t, h),
        "dc_last": _maybe(all_wanted, _n(rng, n, h)), "dx": _maybe(all_wanted, Out((n, t, i))),
        "dh0": _maybe(all_wanted, Out((n, h))), "dc0": _maybe(all_wanted, Out((n, h))),
        "dw": _gradient(rng, accumulate, *forward["w"].shape), "du": _gradient(rng, accumulate, *forward["u"].shape),
        "db": _maybe(bias, _gradient(rng, accumulate, *b.shape)), **attributes, "accumulate": accumulate,
    }  # fmt: skip
