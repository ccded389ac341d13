"""Cases of optimizers' updates."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import Arguments, InOut, Rng, _add, _n


def add_cases() -> None:
    def flat(rng: Rng, size: int, *states: str, **attributes: Any) -> Arguments:
        arguments = {"p": InOut(_n(rng, size)), "g": _n(rng, size) * 0.1}
        for name in states:
            start = _n(rng, size) * 0.1
            positive = name in ("s", "v", "vhat")
            arguments[name] = None if name.startswith("no ") else InOut(np.abs(start) + 0.02 if positive else start)
        return {name.removeprefix("no "): value for name, value in arguments.items()} | attributes

    adam = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7}
    rms = {"lr": 1e-2, "rho": 0.9, "eps": 1e-7}
    for size in (0, 1, 7, 16, 33, 1000, 4099):
        entries: list[tuple[str, str, tuple[str, ...], Arguments]] = [
            ("sgd", "", (), {"lr": 0.1}),
            ("adagrad", "", ("s",), {"lr": 0.1, "eps": 1e-7}),
            ("rmsprop", ",plain", ("s", "no m", "no gbar"), {**rms, "momentum": 0.0}),
            ("rmsprop", ",momentum", ("s", "m", "no gbar"), {**rms, "momentum": 0.8}),
            ("rmsprop", ",centered", ("s", "no m", "gbar"), {**rms, "momentum": 0.0}),
            ("rmsprop", ",both", ("s", "m", "gbar"), {**rms, "momentum": 0.8}),
            ("adam", ",step 1", ("m", "v", "no vhat"), {**adam, "weight_decay": 0.0, "step": 1}),
            ("adam", ",amsgrad", ("m", "v", "vhat"), {**adam, "weight_decay": 0.0, "step": 7}),
            ("adam", ",decay", ("m", "v", "no vhat"), {**adam, "weight_decay": 0.04, "step": 1000}),
            ("adam", ",both", ("m", "v", "vhat"), {**adam, "weight_decay": 0.04, "step": 3}),
        ]
        for form in ("classical", "nesterov", "averaged"):
            entries.append(("momentum", f",{form}", ("m",), {"lr": 0.1, "momentum": 0.9, "form": form}))
        for name, suffix, states, attributes in entries:
            if name == "rmsprop" and "gbar" in states:
                # s must exceed gbar² as a mean of squares does.
                def build(rng: Rng, size=size, states=states, attributes=attributes) -> Arguments:
                    arguments = flat(rng, size, *states, **attributes)
                    arguments["s"] = InOut(arguments["s"].start + 2 * arguments["gbar"].start ** 2)
                    return arguments
            else:

                def build(rng: Rng, size=size, states=states, attributes=attributes) -> Arguments:
                    return flat(rng, size, *states, **attributes)

            _add(name, f"size={size}{suffix}", build)
