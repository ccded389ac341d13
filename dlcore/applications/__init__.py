"""Architectures, ready to build and train."""

from typing import Any

from .alexnet import AlexNet
from .lenet import LeNet5
from .mlp import MLP
from .perceptron import Perceptron
from .resnet import ResNet18, ResNet34, ResNet50, ResNet101
from .vgg import VGG11, VGG13, VGG16, VGG19

__all__ = [
    "MLP", "VGG11", "VGG13", "VGG16", "VGG19", "AlexNet", "LeNet5", "Perceptron", "ResNet18", "ResNet34", "ResNet50",
    "ResNet101",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    from ..absent import absent

    raise absent("applications", name, __all__)
