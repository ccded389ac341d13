"""Flat buffers: the parameters of one dtype, their gradients and the optimizer's states, each laid end to end.

Each variable starts at a multiple of 64 bytes; the padding stays zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Variable

_ALIGNMENT = 64  # bytes


class Buffer:
    """The variables of one dtype and their weight decay, laid end to end."""

    def __init__(self, backend: Any, variables: list[Variable], decayed: int, slots: dict[str, float]) -> None:
        dtype = np.dtype(variables[0].dtype)
        unit = _ALIGNMENT // dtype.itemsize
        self.variables = variables
        self.dtype = dtype
        self.bounds: list[tuple[int, int]] = []  # start and end of each variable, padding not included
        end = 0
        for variable in variables:
            self.bounds.append((end, end + variable.size))
            end += -(-variable.size // unit) * unit
        self.size = end
        self.split = self.bounds[decayed][0] if decayed < len(variables) else end  # weight decay ends here
        self.p = backend.zeros((end,), dtype)
        self.data_views = [self.p[a:b].reshape(v.shape) for v, (a, b) in zip(variables, self.bounds, strict=True)]
        self.adopt_data(backend)
        backend.release()  # where the variables lay before: room for what follows
        self.g = backend.zeros((end,), dtype)
        self.states = {}
        for slot, initial in slots.items():
            state = backend.zeros((end,), dtype)
            if initial:
                backend.fill(state, initial)
            self.states[slot] = state
        self.grad_views = [self.g[a:b].reshape(v.shape) for v, (a, b) in zip(variables, self.bounds, strict=True)]
        ranges = [(0, self.split), (self.split, end)] if 0 < self.split < end else [(0, end)]
        self.parts = [self.part(*ends) for ends in ranges]

    def part(self, start: int, end: int) -> tuple[Any, Any, dict[str, Any], bool]:
        """Parameters, gradients and states of a range, and whether it takes part in weight decay."""
        states = {slot: state[start:end] for slot, state in self.states.items()}
        return self.p[start:end], self.g[start:end], states, start < self.split

    def adopt(self, backend: Any) -> None:
        """Bring in what the variables hold where it is not a view of the buffers yet."""
        self.adopt_data(backend)
        for i, variable in enumerate(self.variables):
            if variable.grad is not self.grad_views[i]:
                a, b = self.bounds[i]
                if variable.grad is None:
                    backend.fill(self.g[a:b], 0.0)
                else:
                    backend.copy(variable.grad.reshape(-1), self.g[a:b])
                variable.grad = self.grad_views[i]

    def adopt_data(self, backend: Any) -> None:
        """The same for their values alone."""
        for variable, view, (a, b) in zip(self.variables, self.data_views, self.bounds, strict=True):
            if variable.data is not view:
                backend.copy(variable.data.reshape(-1), self.p[a:b])
                variable.data = view
