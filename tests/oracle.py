"""Keras on PyTorch as an oracle: `from oracle import keras` skips the importing test module where it is missing."""

from __future__ import annotations

import os
import tempfile

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras-"))  # Keras writes a configuration file there

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "torch":
    pytest.skip("Keras does not run on PyTorch here", allow_module_level=True)
