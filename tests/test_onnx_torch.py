"""Networks from PyTorch, by its ONNX exporter: the applications' architectures, and what others are made of."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import applications

pytest.importorskip("onnx")
from onnx_models import APPLICATIONS
from onnx_runtime import assert_close, results

torch = pytest.importorskip("torch")
nn = torch.nn


def in_torch(model):
    """The same architecture from PyTorch's modules, channels first, with weights of PyTorch's own."""

    class Step(nn.Module):
        def forward(self, x):
            return (x > 0).float()

    def pads(padding):
        return 0 if padding == "valid" else (padding[0], padding[2])

    def module(layer, shape):
        functions = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "softmax": nn.Softmax(-1), "step": Step()}
        kind = type(layer).__name__
        if kind == "Conv2D":
            assert layer.padding != "same" or layer.strides == (1, 1)
            padding = layer.padding if isinstance(layer.padding, str) else pads(layer.padding)
            made = nn.Conv2d(shape[-1], layer.filters, layer.kernel_size, layer.strides, padding, bias=layer.use_bias)
        elif kind == "Dense":
            made = nn.Linear(shape[-1], layer.units)
        elif kind in ("MaxPooling2D", "AveragePooling2D"):
            pool = nn.MaxPool2d if kind == "MaxPooling2D" else nn.AvgPool2d
            return pool(layer.pool_size, layer.strides, pads(layer.padding))
        elif kind == "BatchNormalization":
            made = nn.BatchNorm2d(shape[-1], layer.epsilon)
            nn.init.uniform_(made.running_var, 0.5, 2.0)
            nn.init.normal_(made.running_mean)
            return made
        else:
            return {
                "Flatten": nn.Flatten, "ReLU": nn.ReLU, "Dropout": nn.Dropout, "Identity": nn.Identity,
                "GlobalAveragePooling2D": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                "Activation": lambda: functions[layer.activation.__name__],
            }[kind]()  # fmt: skip
        name = layer.activation.__name__
        return made if name == "linear" else nn.Sequential(made, functions[name])

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            parts = [None if type(n.layer).__name__ == "Add" else module(n.layer, n.inputs[0].shape) for n in nodes]
            self.parts = nn.ModuleList(part for part in parts if part is not None)
            self.places = list(np.cumsum([part is not None for part in parts]) - 1)

        def forward(self, x):
            values = {id(model.inputs[0]): x}
            for node, place in zip(nodes, self.places, strict=True):
                found = [values[id(y)] for y in node.inputs]
                values[id(node.outputs)] = found[0] + found[1] if len(found) == 2 else self.parts[place](found[0])
            return values[id(model.outputs[0])]

    nodes = model._graph.nodes
    torch.manual_seed(0)
    return Network().eval()


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.filterwarnings("ignore")
def test_application_from_torch(name, tmp_path):
    model = getattr(applications, name)(**APPLICATIONS[name])
    network = in_torch(model)
    shape = model.input_shape[1:]
    x = torch.randn(2, *(shape if len(shape) < 3 else (shape[2], *shape[:2])))
    path = tmp_path / "m.onnx"
    torch.onnx.export(
        network, (x,), str(path), dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}}
    )
    loaded = dl.onnx.load(path)
    with torch.no_grad():
        expected = network(x).numpy()
    assert_close(results(loaded, [x.numpy()]), [expected])
    kinds = [type(layer).__name__ for layer in loaded.layers]
    assert kinds.count("Permute") <= 1, "images are turned once, at the entry"


# ---- what other networks are made of ---------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, kind, bidirectional):
        super().__init__()
        self.rnn = getattr(nn, kind)(4, 5, num_layers=2, bidirectional=bidirectional, batch_first=True)
        self.head = nn.Linear(10 if bidirectional else 5, 3)

    def forward(self, x):
        y, states = self.rnn(x)
        last = states[0] if isinstance(states, tuple) else states
        return self.head(y), last[-1]


class Attending(nn.Module):
    """A transformer's encoder layer, written out, with tokens, a class token, and a causal mask."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 7, 8))
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.one, self.two = nn.LayerNorm(8), nn.LayerNorm(8)
        self.feed = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, ids):
        x = torch.cat([self.first.expand(ids.shape[0], -1, -1), self.tokens(ids)], 1) + self.places
        n, t, c = x.shape
        q, k, v = self.qkv(self.one(x)).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)) / 2.0
        scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf"))
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))
        return (x + self.feed(self.two(x)))[:, 0]


class Sizes(nn.Module):
    """Shapes that are worked out while it runs."""

    def forward(self, x):
        n, c, h, w = x.shape
        y = x.view(n, c, h * w).mean(2, keepdim=True).expand(n, c, 4)
        z = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        return (
            y.reshape(n, -1),
            z,
            torch.zeros(n, 2, device=x.device) + x.amax((2, 3))[:, :2],
            x.flatten(2).transpose(1, 2),
        )


NETWORKS = {
    "1-D": lambda: (nn.Sequential(
        nn.Conv1d(3, 6, 3, stride=2, padding=1, groups=3), nn.BatchNorm1d(6), nn.ReLU(),
        nn.MaxPool1d(2, ceil_mode=True), nn.ConvTranspose1d(6, 4, 3, stride=2, output_padding=1),
        nn.AvgPool1d(3, 2, padding=1), nn.AdaptiveAvgPool1d(1),
    ), torch.randn(2, 3, 21)),
    "3-D": lambda: (nn.Sequential(
        nn.Conv3d(2, 4, (3, 2, 3), stride=(2, 1, 1), padding=1, dilation=(1, 2, 1)), nn.ReLU(), nn.BatchNorm3d(4),
        nn.MaxPool3d(2, padding=1), nn.AvgPool3d((2, 2, 1), padding=(1, 0, 0)), nn.Conv3d(4, 4, 1, groups=2),
    ), torch.randn(2, 2, 8, 9, 7)),
    "images": lambda: (nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(4, 8, 3, stride=2, padding=1, dilation=2), nn.GroupNorm(2, 8), nn.SiLU(),
        nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, groups=2), nn.InstanceNorm2d(4, affine=True), nn.Hardswish(),
        nn.PReLU(4), nn.ReplicationPad2d((1, 2, 0, 1)), nn.Upsample(scale_factor=2),
        nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), nn.PixelShuffle(2), nn.Hardsigmoid(), nn.Mish(),
    ), torch.randn(2, 4, 10, 11)),
    "reductions": lambda: (Reductions(), torch.randn(3, 4, 5)),
    "sizes": lambda: (Sizes(), torch.randn(3, 3, 4, 5)),
    "attention": lambda: (Attending(), torch.randint(0, 11, (3, 6))),
    **{
        f"{kind}{' both ways' if both else ''}": lambda kind=kind, both=both: (
            Recurrent(kind, both), torch.randn(3, 6, 4)
        )
        for kind in ("RNN", "LSTM", "GRU") for both in (False, True)
    },
}  # fmt: skip


class Reductions(nn.Module):
    def forward(self, x):
        return (
            x.logsumexp(1), x.norm(dim=2), x.softmax(1), x.log_softmax(0), x.argmax(2), x.cumsum(1), x.prod(2),
            x.clamp(-0.5, 0.5), torch.where(x > 0, x, -x), x.std((1, 2)), torch.erf(x),
            x.floor() + x.round() + x.ceil(),
            torch.einsum("nij,nik->njk", x, x), x.unsqueeze(1).repeat(1, 2, 1, 1),
            x.gather(1, x.argmax(1, keepdim=True)), x[:, [2, 0]], x.roll(1, 2), x.tril(),
        )  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_network_from_torch(name, active_backend, tmp_path):
    torch.manual_seed(0)
    network, x = NETWORKS[name]()
    network = network.eval()
    with torch.no_grad():
        expected = network(x)
    torch.onnx.export(
        network, (x,), str(tmp_path / "m.onnx"), dynamo=False, opset_version=17, input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    loaded = dl.onnx.load(tmp_path / "m.onnx")
    outputs = expected if isinstance(expected, tuple) else (expected,)
    assert_close(results(loaded, [x.numpy()]), [y.numpy() for y in outputs])
