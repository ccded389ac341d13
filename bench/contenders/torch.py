"""PyTorch, eager (or compiled): NCHW and channels_last, fused optimizers, inference mode."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cases import ADAM_EPSILON, EPSILON, LEARNING_RATE, MOMENTUM, Case, Network, Node, Weights

from . import Run, Variants
from .layout import torch_gates

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
CELLS = {"simple_rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def variants(name: str, threads: int, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Variants:
    torch.set_num_threads(threads)
    task = {"train": _train, "infer": _infer, "layer": _layer}[case.task]
    formats = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    if x.ndim != 4:
        formats = {"contiguous": torch.contiguous_format}

    def build(memory: torch.memory_format) -> Run:
        return task(_net(name, case, weights, memory), case, _input(x, memory), torch.from_numpy(y))

    return {label: partial(build, memory) for label, memory in formats.items()}


def _input(x: np.ndarray, memory: torch.memory_format) -> torch.Tensor:
    tensor = torch.from_numpy(x)
    return tensor.permute(0, 3, 1, 2).contiguous(memory_format=memory) if x.ndim == 4 else tensor


def _net(name: str, case: Case, weights: Weights, memory: torch.memory_format) -> Any:
    net: Any = _Net(case.network, weights)
    net = net.to(memory_format=memory)
    return torch.compile(net) if name == "torch-compile" else net


class _Net(nn.Module):
    def __init__(self, network: Network, weights: Weights) -> None:
        super().__init__()
        self.nodes = network.nodes
        self.parts = nn.ModuleList(_module(node) for node in network.nodes)
        with torch.no_grad():
            for place, (node, part) in enumerate(zip(self.nodes, self.parts, strict=True)):
                own = {parameter: weights[f"{place}.{parameter}"] for parameter in node.parameters()}
                for target, value in _named(node, own).items():
                    getattr(part, target).copy_(torch.from_numpy(np.ascontiguousarray(value)))
                if node.kind in ("simple_rnn", "lstm"):  # a second bias, which would double the rate of their sum
                    part.bias_hh_l0.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {-1: x}
        for place, (node, part) in enumerate(zip(self.nodes, self.parts, strict=True)):
            out = values[node.inputs[0]]
            if node.kind == "add":
                out = out + values[node.inputs[1]]
            elif node.kind in CELLS:
                out = part(out)[0][:, -1]
            else:
                out = part(out)
            if node.kind in ("conv", "dense") and node.activation in ACTIVATIONS:
                out = ACTIVATIONS[node.activation](out)
            values[place] = out
        return out


def _module(node: Node) -> nn.Module:
    channels, units = node.source[-1], node.shape[-1]
    if node.kind in CELLS:
        return CELLS[node.kind](channels, units, batch_first=True)
    makers: dict[str, Any] = {
        "conv": lambda: nn.Conv2d(channels, units, node.size, node.stride, node.pad, bias=node.bias),
        "dense": lambda: nn.Linear(channels, units),
        "batchnorm": lambda: nn.BatchNorm2d(units, EPSILON),
        "relu": nn.ReLU,
        "maxpool": lambda: nn.MaxPool2d(node.size, node.stride, node.pad),
        "avgpool": lambda: nn.AvgPool2d(node.size, node.stride),
        "flatten": _Flatten,
        "global_average": _GlobalAverage,
        "add": nn.Identity,
    }
    return makers[node.kind]()


class _Flatten(nn.Module):
    """In the order of NHWC, so that the weights of the next layer fit: a view where the image is channels_last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class _GlobalAverage(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def _named(node: Node, own: Weights) -> Weights:
    """Our weights by torch's names, in torch's layout."""
    if node.kind == "conv":
        return {"weight": own["kernel"].transpose(3, 2, 0, 1), **({"bias": own["bias"]} if node.bias else {})}
    if node.kind == "dense":
        return {"weight": own["kernel"].T, "bias": own["bias"]}
    if node.kind == "batchnorm":
        names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        return {torch_name: own[ours] for torch_name, ours in names.items()}
    if node.kind in CELLS:
        return torch_gates(node.kind, own)
    return {}


def _train(net: Any, case: Case, x: torch.Tensor, y: torch.Tensor) -> Run:
    rate = LEARNING_RATE[case.optimizer]
    optimizer = (
        torch.optim.Adam(net.parameters(), rate, eps=ADAM_EPSILON, fused=True)
        if case.optimizer == "adam"
        else torch.optim.SGD(net.parameters(), rate, MOMENTUM, fused=True)
    )
    loss_of = F.cross_entropy if case.loss == "cross_entropy" else F.mse_loss

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Run(step)


def _infer(net: Any, case: Case, x: torch.Tensor, y: torch.Tensor) -> Run:
    net.eval()

    @torch.inference_mode()
    def step() -> torch.Tensor:
        return torch.softmax(net(x), -1)

    return Run(step, torch.Tensor.numpy)


def _layer(net: Any, case: Case, x: torch.Tensor, y: torch.Tensor) -> Run:
    @torch.no_grad()  # but in training mode
    def step() -> torch.Tensor:
        return net(x)

    return Run(step, lambda out: out.permute(0, 2, 3, 1).contiguous().numpy())
