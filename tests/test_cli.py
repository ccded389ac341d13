"""The command line: each command, and one line and exit code 2 for every mistake."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dlcore import backends
from dlcore.backends import registry
from dlcore.cli import main


@pytest.fixture(autouse=True)
def leave_no_default(monkeypatch):
    """--backend sets the process's default; the next test starts without."""
    monkeypatch.setattr(registry, "_default", registry._default)
    monkeypatch.setattr(registry, "_setter", None)
    monkeypatch.delenv("DLCORE_BACKEND", raising=False)
    monkeypatch.delenv("DLCORE_STRICT", raising=False)


@pytest.fixture
def npz(tmp_path):
    """A small data set of two classes that a network can tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.integers(0, 100, (60, 12, 12)).astype(np.uint8)
    x[y == 1, :6] += 150
    path = tmp_path / "data.npz"
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return path


def mistake(capsys, *arguments: object) -> str:
    """What a command that must fail says: one line."""
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("dlcore: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


# ---- engines --------------------------------------------------------------------------------------------------------


def test_backends_table(capsys):
    assert main(["backends"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("numpy", "numba", "cython", "cupy"))
    assert f"{len(backends.interface.PRIMITIVES)} of" in out


def test_a_wrong_environment_variable(capsys, monkeypatch):
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.setattr(registry, "_instances", {})
    monkeypatch.setenv("DLCORE_CONV", "fft")
    assert "DLCORE_CONV='fft': expected one of auto, direct, winograd" in mistake(capsys, "backends")


def test_backends_coverage(capsys):
    assert main(["backends", "--coverage"]) == 0
    out = capsys.readouterr().out
    assert all(any(line.startswith(op) for line in out.splitlines()) for op in backends.interface.PRIMITIVES)


def test_backends_names(capsys):
    assert main(["backends", "--names"]) == 0
    assert capsys.readouterr().out.split() == backends.available_backends()


def test_as_a_module_and_as_a_program():
    for program in ([sys.executable, "-m", "dlcore"], [sys.executable, "-c", "from dlcore.cli import main; main()"]):
        result = subprocess.run([*program, "--version"], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0
        assert result.stdout.startswith("dlcore 0.")


def test_help_needs_no_engine(capsys):
    for command in ([], ["train"], ["evaluate"], ["predict"], ["summary"], ["backends"], ["bench"]):
        assert main([*command, "--help"]) == 0
        assert "usage: dlcore" in capsys.readouterr().out


# ---- train, evaluate, predict, summary ------------------------------------------------------------------------------


def test_train_evaluate_predict(capsys, tmp_path, npz):
    weights, picture, outputs = tmp_path / "m.safetensors", tmp_path / "curve.png", tmp_path / "p.npy"
    pytest.importorskip("matplotlib")
    common = ["--backend", "numpy", "--data", str(npz)]
    assert main(
        ["train", *common, "--model", "mlp", "--epochs", "4", "--batch-size", "16", "--seed", "3", "--optimizer", "sgd",
         "--learning-rate", "0.1", "--momentum", "0.5", "--cosine", "--save", str(weights), "--plot", str(picture)]
    ) == 0  # fmt: skip
    trained = capsys.readouterr().out
    assert "numpy: test accuracy" in trained
    assert "on 20 held-out samples" in trained
    assert picture.read_bytes().startswith(b"\x89PNG")

    assert main(["evaluate", *common, "--model", str(weights)]) == 0
    evaluated = capsys.readouterr().out.strip()
    assert evaluated.partition(" on 20")[0] in trained

    assert main(["predict", *common, "--model", str(weights), "--count", "4", "--save", str(outputs)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    np.testing.assert_allclose(np.load(outputs).sum(axis=1), np.ones(4), rtol=1e-5)

    assert main(["summary", "--backend", "numpy", "--model", str(weights)]) == 0
    assert "Total params" in capsys.readouterr().out

    with np.load(npz) as arrays:
        np.savez(tmp_path / "small.npz", **{k: v[:, :10, :10] if k[0] == "x" else v for k, v in arrays.items()})
    error = mistake(capsys, "evaluate", "--model", weights, "--data", tmp_path / "small.npz")
    assert "takes samples of shape [12, 12, 1]" in error
    assert "has [10, 10, 1]" in error


def test_the_same_seed_trains_the_same_model(tmp_path, npz):
    common = ["train", "--backend", "numpy", "--data", str(npz), "--model", "lenet5", "--epochs", "1", "--save"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([*common, str(tmp_path / f"{name}.safetensors"), "--seed", seed]) == 0
    from dlcore import load_model

    a, b, c = (load_model(tmp_path / f"{name}.safetensors").get_weights() for name in "abc")
    assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
    assert not all(np.array_equal(p, q) for p, q in zip(a, c, strict=True))


def test_summary_of_lenet(capsys):
    assert main(["summary", "--backend", "numpy"]) == 0
    assert "61,706" in capsys.readouterr().out


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_no_command(capsys):
    assert "COMMAND" in mistake(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "invalid choice: 'trian'"),
        (["train", "--epochs", "0"], "argument --epochs: must be a positive whole number, got '0'"),
        (["train", "--batch-size", "many"], "--batch-size"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--learning-rate", "fast"], "--learning-rate"),
        (["train", "--data", "digts"], "Did you mean 'digits'?"),
        (["train", "--model", "lenet"], "Did you mean 'lenet5' or "),
        (["train", "--model", "nothing.safetensors"], "there is no file nothing.safetensors"),
        (["train", "--optimizer", "adm"], "adam"),
        (["train", "--momentum", "0.9"], "--momentum goes with --optimizer sgd, got adam"),
        (["train", "--backend", "nmpy"], "Did you mean 'numpy'?"),
        (["train", "--save", "here.h5"], "--save: here.h5 must end in .safetensors"),
        (["train", "--save", "no/such/folder/m.safetensors"], "there is no folder no/such/folder"),
        (["train", "--plot", "curve.txt"], "--plot: curve.txt must end in .png or .svg or .pdf"),
        (["evaluate"], "--model"),
        (["evaluate", "--model", "lenet5"], "lenet5 is not trained yet"),
        (["predict", "--model", "x.safetensors", "--save", "p.csv"], "must end in .npy"),
        (["bench", "--backend", "nmpy"], "Did you mean 'numpy'?"),
    ],
)
def test_mistakes(capsys, arguments, words):
    assert words in mistake(capsys, *arguments)


def test_plot_without_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'dlcore[plots]'" in mistake(capsys, "train", "--plot", tmp_path / "curve.png")


def test_unavailable_engine(capsys):
    if "cupy" in backends.available_backends():
        pytest.skip("cupy works here")
    assert "engine 'cupy' is not available" in mistake(capsys, "train", "--backend", "cupy")


def test_damaged_model(capsys, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"not this")
    assert str(path) in mistake(capsys, "evaluate", "--backend", "numpy", "--model", path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": np.zeros((2, 3))}, "lacks y_train, x_test, y_test"),
        ({"x_train": np.zeros((2, 3)), "y_train": np.zeros(3, int)}, "one label for each"),
        ({"x_train": np.zeros((0, 3)), "y_train": np.zeros(0, int)}, "one label for each"),
        ({"x_train": np.zeros((2, 3)), "y_train": np.zeros(2)}, "labels of .* must be whole numbers"),
        ({"x_train": np.zeros((2, 3)), "y_train": np.array([0, -1])}, "from -1"),
        ({"x_train": np.array([["a"], ["b"]]), "y_train": np.array([0, 1])}, "numeric samples"),
    ],
)
def test_odd_npz(capsys, tmp_path, arrays, words):
    import re

    if len(arrays) == 2:
        arrays = {**arrays, "x_test": np.zeros((2, 3)), "y_test": np.zeros(2, int)}
    np.savez(tmp_path / "d.npz", **arrays)
    error = mistake(capsys, "train", "--backend", "numpy", "--model", "mlp", "--data", tmp_path / "d.npz")
    assert re.search(words, error)


def test_file_that_is_no_npz(capsys, tmp_path):
    path = tmp_path / "d.npz"
    for data in (b"", b"PK\x03\x04 but no more", b"plain text"):
        path.write_bytes(data)
        assert str(path) in mistake(capsys, "train", "--backend", "numpy", "--model", "mlp", "--data", path)


def test_folder_without_data(capsys, tmp_path):
    assert "lacks train-images-idx3-ubyte" in mistake(capsys, "train", "--data", tmp_path)
