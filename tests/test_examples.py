"""Every example runs, in its short form, on every engine, and says what it set out to say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
WORDS = {  # what must be among what it prints
    "01_neurons_and_gates": r"nand \[1 1 1 0\][\s\S]*NANDs:\n  \[0 1 1 0\][\s\S]*xor  never right",
    "02_forward_and_backward": r"L\(y, a3\) = 0\.26712213[\s\S]*fit makes of the weights what is written above",
    "03_activations": r"relu, bias −2:[\s\S]*100\.0 %",
    "04_losses": r"0\.51082562[\s\S]*0\.22314355[\s\S]*0\.91629073[\s\S]*\[0\.51082562 0\.69314718\]",
    "05_initialisation": r"largest difference between two units' weights after 3 epochs: (0\.0e\+00|\d\.\de-0[6-9])",
    "06_optimizers": r"per sample +512 updates[\s\S]*mini-batches of 32 +16 updates[\s\S]*the whole set +2 updates",
    "07_regularisation": r"MinMaxScaler: +training 0\.\d+ ",
    "08_convolutions": r"\[26, 24, 22\], flattened 15,488[\s\S]*\[14, 7, 4\], flattened 512[\s\S]*61,706",
    "09_batch_normalisation": r"learning rate 1\.0 ",
    "15_real_images": r"(?m)^mlp .+\n^lenet5 .+\n^lstm .+\n^vgg .+\n^digits .+ test [01]\.\d{4}$",
    "10_recurrent": r"with a mask +accuracy",
    "11_search": r"looked at once: 0\.\d+",
    "12_transfer_learning": r"frozen features, new head +0\.\d+ ±[\s\S]*from nothing +0\.\d+ ±",
    "13_scikit_learn": r"best of the grid[\s\S]*best of those drawn[\s\S]*on the test set: 0\.\d+",
    "14_features_as_maps": r"pixels +-?0\.\d+\n +features +-?0\.\d+[\s\S]*saved in features\.png",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, active_backend, monkeypatch, tmp_path, capsys):
    if path.stem in ("12_transfer_learning", "15_real_images") and not DEBIAN.exists():
        pytest.skip("Fashion-MNIST is not installed (Debian: apt install dataset-fashion-mnist)")
    if path.stem in ("13_scikit_learn", "14_features_as_maps"):
        pytest.importorskip("sklearn")
    monkeypatch.setenv("DLCORE_SHORT", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(WORDS[path.stem], capsys.readouterr().out)


def test_each_is_described_and_tested():
    assert [path.stem for path in EXAMPLES] == sorted(WORDS)
    assert all("\nData: " in path.read_text() for path in EXAMPLES)
