"""Architectures, ready to build and train."""

from .lenet import LeNet5
from .mlp import MLP

__all__ = ["MLP", "LeNet5"]
