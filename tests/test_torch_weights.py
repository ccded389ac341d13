"""Weights of PyTorch modules, named as torchvision's, give the same outputs here."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import applications, layers
from dlcore.io import load_torch_weights

torch = pytest.importorskip("torch", reason="PyTorch makes the files and the outputs that are compared")
nn = torch.nn

pytestmark = pytest.mark.usefixtures("on_numpy")
IMAGES = np.random.default_rng(1).standard_normal((2, 64, 64, 3)).astype(np.float32)


@pytest.fixture
def on_numpy():
    with dl.use_backend("numpy"):
        yield


def stored(module, path):
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
    return path


def outputs(module) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)).numpy()


class VGG11(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        steps, before = [], 3
        for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
            steps += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
            before = width or before
        self.features = nn.Sequential(*steps)
        self.classifier = nn.Sequential(nn.Linear(2048, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Block(nn.Module):
    def __init__(self, before, width, stride) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = 64
        for group in range(1, 5):
            width = 32 << group
            setattr(self, f"layer{group}", nn.Sequential(Block(before, width, 1 + (group > 1)), Block(width, width, 1)))
            before = width
        self.fc = nn.Linear(512, 10)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def resnet(tmp_path):
    torch.manual_seed(0)
    module = ResNet18()
    for part in module.modules():  # running statistics that are not 0 and 1
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return module, stored(module, tmp_path / "resnet18.safetensors")


def test_vgg(tmp_path):
    torch.manual_seed(0)
    module = VGG11()
    path = stored(module, tmp_path / "vgg11.safetensors")
    model = applications.VGG11((64, 64, 3), 10, hidden=(32,), classifier_activation=None)
    report = load_torch_weights(model, path)
    assert len(report["loaded"]) == 20
    assert report["skipped"] == report["unused"] == []
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), outputs(module), atol=1e-5)


def test_resnet(resnet):
    module, path = resnet
    model = applications.ResNet18((64, 64, 3), 10, classifier_activation=None)
    report = load_torch_weights(model, path)
    assert len(report["loaded"]) == len(model.weights)
    assert report["unused"] == []
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), outputs(module), rtol=1e-3, atol=1e-4)


def test_replaced_head_is_left_alone(resnet):
    _, path = resnet
    model = applications.ResNet18((64, 64, 3), 3)
    before = model.get_layer("fc").get_weights()
    with pytest.raises(ValueError, match=r"weight of 'fc' has shape \(512, 10\), fc/kernel needs \(512, 3\)"):
        load_torch_weights(model, path)
    with pytest.warns(UserWarning, match="fc/kernel, fc/bias"):
        report = load_torch_weights(model, path, skip_mismatch=True)
    assert report["skipped"] == ["fc/kernel", "fc/bias"]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_layer("fc").get_weights(), strict=True))
    headless = applications.ResNet18((64, 64, 3), include_top=False)
    assert load_torch_weights(headless, path)["unused"] == ["fc.bias", "fc.weight"]


def test_names_and_depthwise(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(6 * 62 * 62, 2))
    path = stored(module, tmp_path / "m.safetensors")
    model = dl.Sequential(
        [
            layers.Input((64, 64, 3)),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="each"),
            layers.Flatten(),
            layers.Dense(2, name="last"),
        ]
    )
    load_torch_weights(model, path, names={"each": "0", "last": "2"})
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), outputs(module), atol=1e-5)
    with pytest.raises(ValueError, match="there is no 'first'"):
        load_torch_weights(model, path, names={"first": "0"})


def test_what_cannot_be_read(tmp_path, resnet):
    _, path = resnet
    model = dl.Sequential([layers.Input((4, 2)), layers.LSTM(3)])
    with pytest.raises(ValueError, match="no counterpart"):
        load_torch_weights(model, path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_torch_weights(model, tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"1234567890")
    with pytest.raises(ValueError, match="no sound safetensors file"):
        load_torch_weights(model, broken)
    other = dl.Sequential([layers.Input((5,)), layers.Dense(3, name="conv9")])
    with pytest.raises(ValueError, match="holds nothing that fits"):
        load_torch_weights(other, path, skip_mismatch=True)
