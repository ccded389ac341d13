"""OpenVINO's CPU plugin in float32, tuned for latency, by an inference request with shared buffers."""

from __future__ import annotations

import numpy as np
import openvino as ov

from cases import Case, Weights

from . import Run, Variants
from .onnx_model import onnx_input, onnx_model


def variants(name: str, threads: int, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Variants:
    if case.task == "train" or case.network.nodes[0].kind == "batchnorm":
        return {}  # it only infers
    model, images = onnx_model(case, weights), onnx_input(x)
    return {"latency": lambda: _run(model, images, threads)}


def _run(model: bytes, x: np.ndarray, threads: int) -> Run:
    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # where the processor has bf16, that is the default
        "INFERENCE_NUM_THREADS": threads,
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))

    def step(x: np.ndarray = x) -> None:  # holds the input, which the request does not
        request.infer()

    def value(_: object) -> np.ndarray:
        y = request.get_output_tensor().data
        return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y

    return Run(step, value)
