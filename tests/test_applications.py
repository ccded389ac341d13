"""The architectures: parameter counts as published, shapes at several sizes, heads, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import applications, layers
from dlcore.cli import MODELS, main

COUNTS = {  # at 1,000 classes; COURSE.md has the first four, torchvision's documentation the others
    "VGG16": 138_357_544,
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_557_032,
    "AlexNet": 61_100_840,
    "VGG11": 132_863_336,
    "VGG13": 133_047_848,
    "VGG19": 143_667_240,
    "ResNet101": 44_549_160,
}


@pytest.fixture(autouse=True)
def no_time_for_random_numbers(monkeypatch):
    """Counts and shapes do not depend on what the weights are, and VGG's are many."""
    monkeypatch.setattr(layers.Layer, "add_weight", _with_zeros(layers.Layer.add_weight))


def _with_zeros(add_weight):
    def plain(self, shape=(), initializer=None, *args, **kwargs):
        return add_weight(self, shape, "zeros", *args, **kwargs)

    return plain


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    model = getattr(applications, name)()
    assert sum(math.prod(v.shape) for v in model.trainable_weights) == COUNTS[name]
    assert model.output_shape == (None, 1000)
    assert model.name == name.lower()


def test_lenet_parameters():
    assert applications.LeNet5().count_params() == 61_706


@pytest.mark.parametrize(
    ("name", "size", "arguments", "features"),
    [
        ("VGG16", (224, 224, 3), {}, (7, 7, 512)),
        ("VGG11", (32, 32, 1), {}, (1, 1, 512)),
        ("VGG19", (28, 28, 1), {}, (1, 1, 512)),
        ("VGG13", (96, 64, 3), {}, (3, 2, 512)),
        ("AlexNet", (224, 224, 3), {}, (6, 6, 256)),
        ("AlexNet", (227, 227, 3), {}, (6, 6, 256)),
        ("AlexNet", (63, 63, 3), {}, (1, 1, 256)),
        ("AlexNet", (28, 28, 1), {"small_images": True}, (2, 2, 256)),
        ("AlexNet", (15, 15, 1), {"small_images": True}, (1, 1, 256)),
        ("ResNet18", (224, 224, 3), {}, (7, 7, 512)),
        ("ResNet34", (64, 96, 3), {}, (2, 3, 512)),
        ("ResNet50", (32, 32, 3), {"small_images": True}, (4, 4, 2048)),
        ("ResNet101", (28, 28, 1), {"small_images": True}, (4, 4, 2048)),
        ("LeNet5", (32, 32, 1), {}, (5, 5, 16)),
        ("LeNet5", (28, 28, 1), {}, (5, 5, 16)),
    ],
)
def test_features_without_the_head(name, size, arguments, features):
    build = getattr(applications, name)
    assert build(size, 7, **arguments).output_shape == (None, 7)
    model = build(size, include_top=False, **arguments)
    assert model.output_shape == (None, *features)
    if name != "LeNet5":
        for pooling in ("avg", "max"):
            pooled = build(size, include_top=False, pooling=pooling, **arguments)
            assert pooled.output_shape == (None, features[-1])
            assert [v.shape for v in pooled.weights] == [v.shape for v in model.weights]


@pytest.mark.parametrize("name", ["VGG11", "AlexNet", "ResNet18"])
def test_any_size_without_the_head(name):
    model = getattr(applications, name)((None, None, 3), include_top=False)
    assert model.output_shape[:3] == (None, None, None)
    assert model.predict_on_batch(np.zeros((1, 70, 64, 3), np.float32)).shape[1:3] in ((2, 2), (1, 1), (3, 2))


def test_head():
    model = applications.VGG11((32, 32, 3), 10, hidden=(64,), dropout=0.0, classifier_activation=None)
    names = [layer.name for layer in model.layers]
    assert names[-3:] == ["flatten", "fc1", "predictions"]
    assert model.layers[-1].activation is dl.activations.linear
    assert applications.AlexNet((64, 64, 3), 10, hidden=(8, 8, 8)).count_params() == (
        applications.AlexNet((64, 64, 3), include_top=False).count_params() + 257 * 8 + 2 * 9 * 8 + 9 * 10
    )


def test_resnet_follows_torchvision():
    """The same names, shapes and order as torchvision's state dict, so that its weights can be read by name."""
    model = applications.ResNet50((64, 64, 3))
    names = [layer.name for layer in model.layers if layer.weights]
    assert names[:2] == ["conv1", "bn1"]
    assert names[-1] == "fc"
    assert model.get_layer("layer2_0_conv1").strides == (1, 1)  # version 1.5: the 3 × 3 has the stride
    assert model.get_layer("layer2_0_conv2").strides == (2, 2)
    assert model.get_layer("layer2_0_downsample_0").strides == (2, 2)
    assert model.get_layer("layer1_0_downsample_0").strides == (1, 1)  # for the channels alone
    with pytest.raises(ValueError, match="layer"):
        model.get_layer("layer1_1_downsample_0")
    with pytest.raises(ValueError, match="layer"):
        applications.ResNet18((32, 32, 3)).get_layer("layer1_0_downsample_0")


def test_config_makes_them_again(tmp_path):
    model = applications.ResNet18((16, 16, 1), 3, small_images=True)
    twin = dl.models.clone_model(model)
    assert [v.shape for v in twin.weights] == [v.shape for v in model.weights]
    assert twin.get_layer("layer2_0_conv1").padding == (1, 1, 1, 1)
    path = tmp_path / "m.safetensors"
    model.save(path)
    x = np.ones((2, 16, 16, 1), np.float32)
    assert np.array_equal(dl.load_model(path).predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("VGG16", {"weights": "imagenet"}, "weights must be None, got 'imagenet'"),
        ("ResNet18", {"weights": "imagenet"}, "load_weights"),
        ("LeNet5", {"weights": "x.h5"}, "weights must be None"),
        ("AlexNet", {"input_shape": (32, 32, 3)}, "at least 63 × 63"),
        ("VGG11", {"input_shape": (16, 32, 3)}, "at least 17 × 17"),
        ("ResNet34", {"input_shape": (31, 31, 3)}, "at least 32 × 32"),
        ("ResNet50", {"input_shape": (32, 32)}, "height, width, channels"),
        ("LeNet5", {"input_shape": (8, 8, 1)}, "at least 12 × 12"),
        ("VGG16", {"pooling": "mean", "include_top": False}, "pooling must be None, 'avg' or 'max'"),
        ("ResNet18", {"pooling": "avg"}, "goes with include_top=False"),
    ],
)
def test_refused(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        getattr(applications, name)(**arguments)


def test_command_line_knows_all_of_them(capsys, monkeypatch):
    monkeypatch.setattr(dl.backends.registry, "_default", dl.backends.registry._default)
    assert sorted([*MODELS.values(), "Perceptron"]) == sorted(applications.__all__)
    for name in MODELS:
        assert main(["summary", "--backend", "numpy", "--model", name]) == 0
        out = capsys.readouterr().out
        assert f'"{name}"' in out
        assert "(None, 10)" in out
