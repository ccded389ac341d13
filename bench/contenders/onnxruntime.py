"""ONNX Runtime's CPU provider: all graph optimizations, outputs by `run` and by bound buffers."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from cases import Case, Weights

from . import Run, Variants
from .onnx_model import onnx_input, onnx_model


def variants(name: str, threads: int, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Variants:
    if case.task == "train" or case.network.nodes[0].kind == "batchnorm":
        return {}  # its pip package only infers
    model, images = onnx_model(case, weights), onnx_input(x)
    return {
        "run": lambda: _run(_session(model, threads), images),
        "bound": lambda: _bound(_session(model, threads), images),
    }


def _session(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(model, options, ["CPUExecutionProvider"])


def _nhwc(y: np.ndarray) -> np.ndarray:
    return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y


def _run(session: ort.InferenceSession, x: np.ndarray) -> Run:
    return Run(lambda: session.run(None, {"x": x})[0], _nhwc)


def _bound(session: ort.InferenceSession, x: np.ndarray) -> Run:
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    output = session.get_outputs()[0]
    result = ort.OrtValue.ortvalue_from_numpy(np.empty(output.shape, np.float32))
    binding.bind_ortvalue_output(output.name, result)
    return Run(lambda: session.run_with_iobinding(binding), lambda _: _nhwc(result.numpy()))
