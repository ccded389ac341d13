"""Models and files run side by side: what the tests of `dlcore.onnx` share."""

from __future__ import annotations

import numpy as np
import pytest


def runtime(path, *inputs):
    """What ONNX Runtime computes from a file."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def shaken(model):
    """Weights that are not the first ones, variances positive, and a batch of inputs."""
    rng = np.random.default_rng(0)
    model.set_weights([
        w + rng.uniform(0.1, 0.5, w.shape).astype(w.dtype) if "variance" in v.path else
        w + 0.1 * rng.normal(size=w.shape).astype(w.dtype)
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ])  # fmt: skip
    return [rng.normal(size=(3, *x.shape[1:])).astype(x.dtype) for x in model.inputs]


def results(model, inputs):
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [y.numpy() for y in (outputs if isinstance(outputs, list) else [outputs])]


def assert_close(found, expected, tolerance=1e-5):
    assert len(found) == len(expected)
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=tolerance, atol=tolerance)
