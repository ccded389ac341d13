"""The ONNX project's own tests of single operators (`onnx.backend.test`), run against models that `dlcore.onnx` loads.

`tests/onnx_nodes.txt` lists what passes and, for the rest, what is not supported. `python tests/onnx_nodes.py` writes
it anew.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper, version_converter
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from dlcore.onnx.importing import load_proto
from dlcore.onnx.reading import OLDEST_OPSET
from dlcore.tensor import Tensor, no_grad

LIST = Path(__file__).with_name("onnx_nodes.txt")
# Inputs that this library takes as weights or settings; a test gives them as inputs, a file as initializers.
CONSTANT = {
    "BatchNormalization": (1, 2, 3, 4), "CenterCropPad": (1,), "Clip": (1, 2), "Conv": (1, 2),
    "ConvTranspose": (1, 2), "CumSum": (1,), "Dropout": (1, 2), "Expand": (1,), "GRU": (1, 2, 3),
    "GroupNormalization": (1, 2), "InstanceNormalization": (1, 2), "LSTM": (1, 2, 3), "LayerNormalization": (1, 2),
    "OneHot": (1, 2), "Pad": (1, 2, 3), "RMSNormalization": (1,), "RNN": (1, 2, 3), "Reshape": (1,),
    "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,), "Trilu": (1,),
    "Unsqueeze": (1,),
}  # fmt: skip


class Loaded(BackendRep):
    """A model whose settings are known once its inputs are."""

    def __init__(self, proto: ModelProto) -> None:
        self.proto = proto

    def run(self, inputs, **kwargs):
        proto = ModelProto()
        proto.CopyFrom(self.proto)
        given = dict(zip((value.name for value in proto.graph.input), inputs, strict=False))
        for node in proto.graph.node:
            places = range(1, 9) if node.op_type.startswith("Reduce") else CONSTANT.get(node.op_type, ())
            for place in places:
                name = node.input[place] if place < len(node.input) else ""
                if name in given:
                    array = np.asarray(given.pop(name))
                    proto.graph.initializer.append(numpy_helper.from_array(array, name))
        model = load_proto(proto, "the test's model")
        with no_grad():
            outputs = model([Tensor(value) for value in given.values()], training=False)
        return [y.numpy() for y in (outputs if isinstance(outputs, list) else [outputs])]


class Engine(Backend):
    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OLDEST_OPSET)
        if opset < OLDEST_OPSET:  # as the error that such a file gets tells to do
            with contextlib.suppress(Exception):  # no way from there: then it is refused
                model = version_converter.convert_version(model, OLDEST_OPSET)
        return Loaded(model)

    @classmethod
    def supports_device(cls, device):
        return device == "CPU"


def load_cases() -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tests' own making
        return {case.name: case for case in load_model_tests(kind="node")}


def run_case(case) -> None:
    """Raises AssertionError for a wrong result, ValueError for what is not supported."""
    for inputs, expected in case.data_sets:
        arrays = [numpy_helper.to_array(x) if isinstance(x, TensorProto) else x for x in inputs]
        wanted = [numpy_helper.to_array(y) if isinstance(y, TensorProto) else y for y in expected]
        found = Engine.prepare(case.model).run(arrays)
        Runner.assert_similar_outputs(wanted, found, rtol=case.rtol, atol=case.atol)


def read_list() -> tuple[list[str], dict[str, str]]:
    """Names of the cases that pass; of the others, with what is not supported."""
    passing: list[str] = []
    unsupported: dict[str, str] = {}
    for line in LIST.read_text().splitlines():
        name, _, reason = line.partition(": ")
        if not line or line.startswith("#"):
            continue
        if reason:
            unsupported[name] = reason
        else:
            passing.append(name)
    return passing, unsupported


def main() -> None:
    passing, unsupported, failed = [], {}, {}
    for name, case in load_cases().items():
        try:
            run_case(case)
            passing.append(name)
        except ValueError as error:
            if "not supported" in str(error):
                unsupported[name] = str(error).removeprefix("the test's model").lstrip(": ")
            else:
                failed[name] = repr(error)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error)[:600]}"
    print(f"{len(passing)} pass, {len(unsupported)} are not supported, {len(failed)} fail")
    for name, error in failed.items():
        print(f"{name}: {error}", file=sys.stderr)
    if not failed:
        head = "# Tests of the ONNX project's node suite that pass on every CPU engine; then what is not supported.\n"
        rest = "".join(f"{name}: {reason}\n" for name, reason in sorted(unsupported.items()))
        LIST.write_text(head + "".join(f"{name}\n" for name in sorted(passing)) + "\n" + rest)


if __name__ == "__main__":
    main()
