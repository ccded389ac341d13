"""The comparison with other libraries: its networks are those of dlcore.applications, verdicts follow from times, and a
small case runs from end to end."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def test_lenet_is_that_of_the_applications(bench) -> None:
    from cases import lenet5
    from dlcore.applications import LeNet5

    shapes = [weight.shape for weight in LeNet5().get_weights()]
    assert [shape for node in lenet5().nodes for shape in node.parameters().values()] == shapes


def test_flops_of_known_networks(bench) -> None:
    """VGG-16 takes 15.5 G multiplications and additions per image, ResNet-18 1.8 G."""
    from cases import CASES

    assert CASES["VGG-16 224² infer 1"].flops() == pytest.approx(2 * 15.47e9, rel=0.01)
    assert CASES["ResNet-18 224² infer 1"].flops() == pytest.approx(2 * 1.82e9, rel=0.01)
    dense = CASES["MLP train 32"]
    matrices = 784 * 512 + 512 * 256 + 256 * 10
    assert dense.flops() == 2 * 32 * (3 * matrices - 784 * 512)
    assert dense.bytes() > 4 * 10 * (matrices + 778)


def test_every_case_states_a_goal_and_gives_data(bench) -> None:
    from cases import CASES

    for case in CASES.values():
        assert case.goals
        if not case.slow:
            x, y = case.data()
            assert x.shape == (case.batch, *case.network.input_shape)
            assert len(y) == case.batch


def _row(*rounds: float) -> dict:
    return {"median": float(np.median(rounds)), "rounds": list(rounds)}


def test_verdicts(bench) -> None:
    from peer_report import share, verdicts

    contenders = {
        "dlcore": _row(1.0, 2.0, 1.0),
        "torch": _row(3.0, 6.0, 3.0),
        "ncnn": _row(1.2, 2.4, 1.2),
        "jax": {"error": "the output differs", **_row(0.1, 0.1, 0.1)},
    }
    result = {"goals": {"ncnn": 1.25, "rest": 2.0}, "flops": 4e9, "bytes": 1e9, "contenders": contenders}
    ncnn, rest = verdicts(result)
    assert (ncnn.against, ncnn.reached) == ("ncnn", False)
    assert ncnn.speed == pytest.approx(1.2)
    assert (rest.against, rest.speed, rest.reached) == ("torch", 3.0, True)
    assert [v.against for v in verdicts({**result, "goals": {"best": 1.1}})] == ["ncnn"]
    assert share(result, {"gemm": 8e9, "copy": 1e10}, contenders["dlcore"]) == pytest.approx(0.5)


def test_a_contender_that_is_wrong_does_not_count(bench) -> None:
    from cases import CASES
    from peers import check

    right = np.full((2, 3), 1 / 3)
    results: dict = {"a": {}, "b": {}, "c": {}}
    check(CASES["MLP infer 1"], results, {"a@x": right, "b@x": right + 1e-5, "c@x": right + 0.01, "c@y": right})
    assert results["a"] == results["b"] == {}
    assert "output differs" in results["c"]["error"]


def test_a_case_from_end_to_end(tmp_path: Path) -> None:
    output = tmp_path / "peers.json"
    command = [sys.executable, BENCH / "peers.py", "--quick", "--cases", "tiny", "--output", output, "--threads", "1"]
    ran = subprocess.run([*command, "--contenders", "dlcore-numpy,torch"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (result,) = json.loads(output.read_text())["cases"]
    for name, row in result["contenders"].items():
        assert "error" not in row, name
        assert row["calls"] >= 3
        assert 0 < row["quartiles"][0] <= row["median"] <= row["quartiles"][1]
        assert len(row["rounds"]) == 3
        assert math.isfinite(next(iter(row["variants"].values()))["first"])
    assert "dlcore-numpy" in result["contenders"]
    assert "tiny MLP" in ran.stdout


def test_unknown_contenders_are_refused(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, BENCH / "peers.py", "--contenders", "nmpy"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "unknown contenders: nmpy" in ran.stderr
