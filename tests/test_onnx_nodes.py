"""The ONNX project's tests of single operators: those that `tests/onnx_nodes.txt` lists pass, the rest is refused."""

from __future__ import annotations

import pytest

import dlcore as dl

pytest.importorskip("onnx")
import onnx
from onnx_nodes import load_cases, read_list, run_case

PASSING, UNSUPPORTED = read_list()


@pytest.fixture(scope="module")
def cases():
    return load_cases()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PASSING)
def test_node(name, cases, active_backend):
    if name not in cases:
        pytest.skip("this version of onnx does not have it")
    run_case(cases[name])


@pytest.mark.filterwarnings("ignore")
def test_the_other_node_tests_are_refused_and_listed(cases):
    unknown = sorted(set(cases) - set(PASSING) - set(UNSUPPORTED))
    if onnx.__version__ == "1.23.2":
        assert not unknown
    for name in UNSUPPORTED:
        if name in cases:
            with pytest.raises(ValueError, match="not supported"):
                run_case(cases[name])


def test_the_list_covers_every_operator():
    tested = {node.op_type for name, case in load_cases().items() if name in PASSING for node in case.model.graph.node}
    assert set(dl.onnx.supported_operators()) <= tested | {"Constant"}
