"""Keras's own guides and examples, run on dlcore with their imports changed: the page docs/keras-scripts.md.

`python tests/keras_scripts.py FOLDER` runs them from a checkout of keras-io, or of keras, that has `guides/` and
`examples/`; none of their text is kept here. `--engines numpy,cython` chooses engines, `--only PART` scripts by their
names, `--keep DIRECTORY` leaves the changed scripts there to look at, and `--page` writes the page anew.

In every script imports of Keras become imports of dlcore, two epochs are trained at most, and data sets that would be
downloaded are small arrays of random numbers of the right shapes (`STAND_INS`). What is changed beyond that is listed
with each script in `SCRIPTS`, with the reason. A change whose text is not found is an error: the list
must follow the scripts.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "keras-scripts.md"
ENGINES = ("numpy", "numba", "cython")

INTRODUCTION = """
What Keras's own guides and examples do on dlcore with their imports changed (`import dlcore as keras`). This page is
written by `tests/keras_scripts.py`, which runs them from a checkout of keras-io or keras and holds every change that
it makes: the arrays of random numbers that stand in for downloads are its `STAND_INS`, sizes that were made smaller
are in its list `SCRIPTS`. Each script trains two epochs at most. That one runs says that all that it calls is there,
not that what it learns is right: that, other tests hold against Keras. The right column names all else that was left
out or replaced. Scripts of keras-io were taken as they stood in May 2023, for `tensorflow.keras` (the guides on
saving: as first written for Keras 3; the text generation: August 2024); those of Keras as of August 2026. The guides
that train with TensorFlow's or JAX's own functions, or on several machines, are not among them.
"""
STAND_INS = '''
"""Arrays of random numbers in place of downloads."""
import numpy as np

rng = np.random.default_rng(0)

def images(*shape):
    """Whole images and labels 0 ... 9: 960 to train on, 160 to test."""
    def part(n):
        return rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n).astype(np.uint8)
    return part(960), part(160)

def mnist():
    return images(28, 28)

def cifar10():
    return images(32, 32, 3)

def imdb(num_words):
    """Sequences of 20 to 120 words, and whether somebody liked it."""
    def part(n):
        words = np.empty(n, object)
        words[:] = [rng.integers(1, num_words, rng.integers(20, 121)).tolist() for _ in range(n)]
        return words, rng.integers(0, 2, n)
    return part(256), part(64)

class Batches:
    """Arrays in batches, for `fit` to index."""
    def __init__(self, *arrays, batch_size):
        self.arrays, self.size = arrays, batch_size
    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)
    def __getitem__(self, i):
        if not 0 <= i < len(self):
            raise IndexError(i)
        return tuple(a[i * self.size : (i + 1) * self.size] for a in self.arrays)

def pets(n):
    """Photographs of cats and dogs, of one size."""
    return Batches(rng.integers(0, 256, (n, 64, 64, 3)).astype("float32"), rng.integers(0, 2, n), batch_size=8)

def forda(url):
    """Rows of a label, -1 or 1, and 500 steps of a series."""
    n = 160 if "TRAIN" in url else 64
    return np.concatenate([rng.choice([-1.0, 1.0], (n, 1)), rng.normal(size=(n, 500))], 1)

def noise_csv(url):
    """Fourteen days of one value every five minutes, as pandas reads it; with a jump where the name says so."""
    import pandas as pd
    times = pd.date_range("2014-04-01", periods=4032 // 4, freq="5min", name="timestamp")
    values = 20 + 10 * np.sin(np.arange(len(times)) / 45) + rng.normal(size=len(times))
    values[500:550] += 100 if "jumpsup" in url else 0
    return pd.DataFrame({"value": values}, index=times)

def weather():
    """Fourteen measurements every ten minutes."""
    import pandas as pd
    names = ["p (mbar)", "T (degC)", "Tpot (K)", "Tdew (degC)", "rh (%)", "VPmax (mbar)", "VPact (mbar)",
             "VPdef (mbar)", "sh (g/kg)", "H2OC (mmol/mol)", "rho (g/m**3)", "wv (m/s)", "max. wv (m/s)", "wd (deg)"]
    frame = pd.DataFrame(rng.normal(size=(6000, len(names))).cumsum(0), columns=names)
    frame.insert(0, "Date Time", pd.date_range("2009-01-01", periods=len(frame), freq="10min").astype(str))
    return frame

def prose():
    """A text with few letters."""
    letters = list("abcdefgh ,.")
    return "".join(rng.choice(letters, 3000))

def sentences():
    """Lines of English, French and a source, as the Anki project gives them."""
    words = [["go", "run", "stop", "wait"], ["va !", "cours !", "arrete !", "attends !"]]
    picks = rng.integers(0, 4, (200, 2))
    return "\\n".join(f"{words[0][i]} {words[0][j]}\\t{words[1][i]} {words[1][j]}\\tsource" for i, j in picks) + "\\n"
'''


@dataclass(frozen=True)
class Change:
    """`pattern` (a regular expression, lines wise) becomes `text`; `why` None for data, sizes and counts of epochs."""

    pattern: str
    text: str
    why: str | None = None


@dataclass(frozen=True)
class Cut:
    """The lines from the one that holds `first` up to, and without, the next that holds `until` (None: to the end)."""

    first: str
    until: str | None
    why: str


@dataclass(frozen=True)
class Script:
    path: str
    edits: tuple[Change | Cut, ...] = ()


IMPORTS = (
    (r"^(\s*)import keras$", r"\1import dlcore as keras"),
    (r"^(\s*)from (?:tensorflow import keras|tensorflow\.keras import keras)$", r"\1import dlcore as keras"),
    (r"^(\s*)from (?:tensorflow\.)?keras import ", r"\1from dlcore import "),
    (r"^(\s*)from (?:tensorflow\.)?keras\.", r"\1from dlcore."),
    (r"^\s*(?:import tensorflow as tf|import tensorflow)$", ""),
)
SHORTER = (
    (r"\bepochs=(?:[3-9]|\d\d+)\b", "epochs=2"),
    (r"^epochs = (?:[3-9]|\d\d+)\b", "epochs = 2"),
    (r"\bkeras\.datasets\.mnist\.load_data\(\)", "stand_ins.mnist()"),
    (r"\bkeras\.datasets\.cifar10\.load_data\(\)", "stand_ins.cifar10()"),
)
HELD_OUT = Change(r"\b10000\b", "160")
ROWS = Change(r"reshape\((?:60000|10000), 784\)", "reshape(-1, 784)")
TORCH = "PyTorch's objects"
TF_DATA = "tf.data, which is TensorFlow's"
FORDA = Change(r"np\.loadtxt\(filename, delimiter=\"\\t\"\)", "stand_ins.forda(filename)")
ARCHIVE = "Keras 3 saves no other whole-model files than .keras"

NO_GRAD = Change(r"\btorch\.no_grad\(\)", "keras.no_grad()", TORCH)
NO_TORCH = Change(r"^import torch$", "", TORCH)

SCRIPTS = (
    Script("guides/sequential_model.py"),
    Script(
        "guides/functional_api.py",
        (ROWS, Cut("vgg19 = keras.applications.VGG19()", "This comes in handy", "a VGG-19 of full size takes minutes")),
    ),
    Script(
        "guides/training_with_built_in_methods.py",
        (
            NO_TORCH,
            ROWS,
            HELD_OUT,
            Cut(
                "## Training & evaluation using `tf.data` Datasets",
                "## Training & evaluation using `PyDataset`",
                TF_DATA,
            ),
            Cut("## Training & evaluation using PyTorch `DataLoader`", "## Using sample weighting and class", TORCH),
            Cut("Here's a matching `Dataset` example:", "## Passing data to multi-input", TF_DATA),
            Cut("Here's the `Dataset` use case", "## Using callbacks", TF_DATA),
            Cut("keras.callbacks.TensorBoard(", "For more information, see the", "TensorBoard"),
        ),
    ),
    Script("guides/writing_your_own_callbacks.py"),
    Script("guides/making_new_layers_and_models_via_subclassing.py", (ROWS,)),
    Script(
        "guides/understanding_masking_and_padding.py",
        (
            Change(
                r'^print\("Mask found:".*$', "", "the mask of a symbolic tensor, which has none before there are values"
            ),
        ),
    ),
    Script(
        "guides/transfer_learning.py",
        (
            Change(r"^import tensorflow_datasets as tfds$", "", "TensorFlow's data sets"),
            Cut("### Getting the data", "## Build a model", "TensorFlow's data sets and pipelines"),
            Change(
                r"^base_model = keras\.applications\.Xception\($",
                "train_ds, validation_ds, test_ds = stand_ins.pets(32), stand_ins.pets(16), stand_ins.pets(16)\n"
                "base_model = keras.applications.ResNet50(",
                "Xception, which dlcore has not: ResNet-50 in its place",
            ),
            Change(r'weights="imagenet",', "weights=None,", "trained weights, which would be downloaded"),
            Change(r"\(150, 150, 3\)", "(64, 64, 3)"),
        ),
    ),
    Script(
        "guides/custom_train_step_in_torch.py",
        (
            NO_TORCH,
            NO_GRAD,
            Change(r"np\.concatenate\(\[x_train, x_test\]\)", "x_train[:128]"),
            Change(r"^os\.environ\[.*$", "", "the choice of a backend"),
            Change(r"\btorch\.concat\b", "keras.ops.concatenate", TORCH),
            Change(r"\btorch\.(ones|zeros)\b", r"keras.ops.\1", TORCH),
            Change(r"\btorch\.tensor\(real_images\)", "real_images", TORCH),
            Change(r"torch\.utils\.data\.TensorDataset\(\n.*\n\)", "all_digits, all_digits", TORCH),
            Change(
                r"torch\.utils\.data\.DataLoader\(\n.*\n\)", "stand_ins.Batches(*dataset, batch_size=batch_size)", TORCH
            ),
        ),
    ),
    Script(
        "guides/writing_a_custom_training_loop_in_torch.py",
        (
            NO_TORCH,
            NO_GRAD,
            HELD_OUT,
            Change(r"^os\.environ\[.*$", "", "the choice of a backend"),
            Cut("Next, here's our PyTorch optimizer", "As an alternative, let's look at what", TORCH),
            Change(r"^model = get_model\(\)$", "model, epochs = get_model(), 2"),
            Change(r"torch\.from_numpy\((\w+)\)", r"\1", TORCH),
            Change(r"torch\.utils\.data\.TensorDataset\(", "(", TORCH),
            Change(
                r"torch\.utils\.data\.DataLoader\(\n\s*(\w+), .*\n\)",
                r"stand_ins.Batches(*\1, batch_size=batch_size)",
                TORCH,
            ),
            Change(r"torch\.sum\(\*model\.losses\)", "sum(model.losses)", TORCH),
            Change(r"torch\.sum\(inputs\)", "keras.ops.sum(inputs)", TORCH),
        ),
    ),
    Script(
        "guides/working_with_rnns.py",
        (
            Change(r"^mnist = keras\.datasets\.mnist$", ""),
            Change(r"\bmnist\.load_data\(\)", "stand_ins.mnist()"),
            Cut('with tf.device("CPU:0"):', "## RNNs with list/dict inputs", "TensorFlow's devices"),
            Cut(
                "class NestedCell(keras.layers.Layer)",
                "With the Keras `keras.layers.RNN` layer, You",
                "a cell of TensorFlow's functions, with nested inputs",
            ),
        ),
    ),
    Script("guides/serialization_and_saving.py"),
    Script(
        "guides/customizing_saving_and_serialization.py",
        (
            Cut(
                "### `save_assets()` and `load_assets()`",
                "## `build` and `compile` saving",
                "save_assets, which is refused",
            ),
        ),
    ),
    Script("examples/demo_mnist_convnet.py"),
    Script("examples/demo_functional.py", (Change(r"\b50000\b", "640"),)),
    Script("examples/demo_subclass.py", (Change(r"\b50000\b", "640"),)),
    Script("examples/demo_custom_layer_backend_agnostic.py", (Change(r"\b50000\b", "640"),)),
    Script("examples/vision/mnist_convnet.py"),
    Script(
        "examples/timeseries/timeseries_classification_from_scratch.py",
        (FORDA, Change(r"best_model\.(?:h5|keras)", "best_model.keras", ARCHIVE)),
    ),
    Script(
        "examples/timeseries/timeseries_classification_transformer.py",
        (
            FORDA,
            Change(
                r'data_format="channels_first"',
                'data_format="channels_last"',
                "channels_first, which is refused",
            ),
            Change(r"head_size=256", "head_size=16"),
            Change(r"num_transformer_blocks=4", "num_transformer_blocks=1"),
        ),
    ),
    Script(
        "examples/timeseries/timeseries_anomaly_detection.py",
        (Change(r"pd\.read_csv\(\n\s*(\w+), .*\n\)", r"stand_ins.noise_csv(\1)"),),
    ),
    Script(
        "examples/timeseries/timeseries_weather_forecasting.py",
        (
            Cut("uri = ", "df = pd.read_csv(csv_path)", "the download"),
            Change(r"pd\.read_csv\(csv_path\)", "stand_ins.weather()"),
            Change(
                r"plt\.matshow\(data\.corr\(\)\)",
                "plt.matshow(data.drop(columns=date_time_key).corr())",
                "a call that today's pandas refuses",
            ),
            Change(r"dataset_(\w+)\.take\((\d)\)", r"__import__('itertools').islice(dataset_\1, \2)", TF_DATA),
            Change(r"\b(inputs|targets|x\[0\]\[:, 1\]|y\[0\])\.numpy\(\)", r"\1", TF_DATA),
            Change(
                r"model_checkpoint(?:\.weights)?\.h5",
                "model_checkpoint.weights.h5",
                "weights files are named .weights.h5 in Keras 3",
            ),
        ),
    ),
    Script(
        "examples/nlp/bidirectional_lstm_imdb.py",
        (Change(r"keras\.datasets\.imdb\.load_data\(\n", "stand_ins.imdb(\n"),),
    ),
    Script(
        "examples/nlp/lstm_seq2seq.py",
        (
            Change(r"^latent_dim = 256", "latent_dim = 16"),
            Change(
                r'^data_path = "fra\.txt"|^data_path = .*',
                'data_path = "fra.txt"\nopen(data_path, "w").write(stand_ins.sentences())',
            ),
            Change(r'"s2s(?:_model\.keras)?"', '"s2s_model.keras"', ARCHIVE),
        ),
    ),
    Script(
        "examples/nlp/addition_rnn.py",
        (
            Change(r"^TRAINING_SIZE = 50000", "TRAINING_SIZE = 500"),
            Change(r"dtype=(?:np\.bool|bool)\b", "dtype=bool", "a name that today's NumPy has not"),
        ),
    ),
    Script(
        "examples/generative/lstm_character_level_text_generation.py",
        (
            Change(r"keras\.utils\.get_file\(", '"prose.txt"; open(path, "w").write(stand_ins.prose()); dict('),
            Change(r'^\s*"nietzsche\.txt",$', ""),
            Change(r"range\(400\)", "range(20)"),
        ),
    ),
)


def changed(script: Script, text: str) -> str:
    """The script as it is run; lines keep their numbers where nothing was inserted.

    Raises:
        ValueError: a change does not find its text.
    """
    for pattern, replacement in (*IMPORTS, *SHORTER):
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    for edit in script.edits:
        if isinstance(edit, Change):
            text, count = re.subn(edit.pattern, edit.text, text, flags=re.MULTILINE)
            if not count:
                raise ValueError(f"{script.path} has nothing that matches {edit.pattern!r}")
            continue
        lines = text.split("\n")
        start = next((i for i, line in enumerate(lines) if edit.first in line), None)
        if start is None:
            raise ValueError(f"{script.path} has no line with {edit.first!r}")
        end = next(
            (i for i in range(start, len(lines)) if edit.until is not None and edit.until in lines[i]), len(lines)
        )
        in_prose = sum(line.count('"""') for line in lines[:start]) % 2
        out_prose = sum(line.count('"""') for line in lines[:end]) % 2
        lines[start:end] = [""] * (end - start)
        if in_prose != out_prose:  # a cut from code into prose, or the other way round
            lines[end - 1] = '"""'
        text = "\n".join(lines)
    return text if text.startswith("from __future__") else "import stand_ins\n" + text


def run(source: str, name: str, engine: str, seconds: int = 300) -> str:
    """ "runs", or the line that fails and why."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "stand_ins.py").write_text(STAND_INS)
        Path(folder, name).write_text(source)
        env = {**os.environ, "DLCORE_BACKEND": engine, "MPLBACKEND": "Agg"}
        try:
            done = subprocess.run(
                [sys.executable, name], cwd=folder, env=env, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return f"takes more than {seconds} s"
    if done.returncode == 0:
        return "runs"
    lines = done.stderr.strip().split("\n")
    places = re.findall(rf'File ".*{re.escape(name)}", line (\d+)', done.stderr)
    number = int(places[-1]) if places else 0
    line = source.split("\n")[number - 1].strip() if number else "?"
    return f"line {number}: `{line}`: {lines[-1]}"


def reasons(script: Script) -> list[str]:
    """What is left out or replaced beyond imports, data and sizes."""
    return list(dict.fromkeys(edit.why for edit in script.edits if edit.why))


def page(results: dict[str, dict[str, str]], engines: list[str]) -> str:
    lines = [
        "# Keras's guides and examples",
        "",
        INTRODUCTION.strip(),
        "",
        "| script | " + " | ".join(engines) + " | left out or replaced |",
        "|---" * (len(engines) + 2) + "|",
    ]
    for script in SCRIPTS:
        if script.path in results:
            found = [results[script.path][engine].replace("|", "\\|") for engine in engines]
            lines.append(f"| {script.path} | {' | '.join(found)} | {'; '.join(reasons(script)) or '–'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=textwrap.dedent(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="holds guides/ and examples/")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated (%(default)s)")
    parser.add_argument("--only", default="", help="run the scripts whose path holds this")
    parser.add_argument("--keep", type=Path, help="a directory for the changed scripts")
    parser.add_argument("--page", action="store_true", help="write docs/keras-scripts.md")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    results: dict[str, dict[str, str]] = {}
    for script in SCRIPTS:
        path = arguments.folder / script.path
        if arguments.only not in script.path:
            continue
        if not path.is_file():
            print(f"{script.path}: not in {arguments.folder}")
            continue
        source = changed(script, path.read_text())
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / path.name).write_text(source)
        results[script.path] = {}
        for engine in engines:
            results[script.path][engine] = said = run(source, path.name, engine)
            print(f"{script.path} {engine}: {said}", flush=True)
        for reason in reasons(script):
            print(f"    without: {reason}")
    if arguments.page:
        PAGE.write_text(page(results, engines))
    return int(any(said != "runs" for found in results.values() for said in found.values()))


if __name__ == "__main__":
    sys.exit(main())
