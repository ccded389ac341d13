"""The page docs/keras.md: Keras's public names, each supported, different or absent here.

`python tests/keras_surface.py` writes it anew, with the Keras that is installed.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

from oracle import keras

from dlcore.absent import ABSENT

PAGE = Path(__file__).parents[1] / "docs" / "keras.md"
MODULES = (
    "layers", "models", "optimizers", "optimizers.schedules", "losses", "metrics", "callbacks", "activations",
    "initializers", "regularizers", "constraints", "random", "ops", "applications", "saving", "utils", "config",
)  # fmt: skip
DIFFERENT = """
- Images are `[N, H, W, C]`, sequences `[N, T, C]`, always: `data_format="channels_first"` is refused.
- Computations are in float32 or float64; there is no float16, no mixed precision and no quantisation.
- `synchronized` of BatchNormalization and `flash_attention` are refused, as are `attention_axes` other than the steps
  of sequences.
- Convolutions and pooling take, beyond Keras's "valid" and "same", a number of rows and columns as `padding`.
- `jit_compile`, `steps_per_execution` and `auto_scale_loss` of `compile` are taken and change nothing: steps are
  recorded and repeated by themselves; `run_eagerly=True` turns that off.
- A metric without a name is called after its class; Keras numbers those of later models in a program.
- A mean pooled with padding "same" never counts what lies outside; nor does Keras, but where it runs on PyTorch.
- `quantization_config`, `lora_rank` and `renorm` of layers, and what goes with them, are unknown arguments.
- Models are saved as `.safetensors` files, from which training goes on to the bits that it would have reached, or as
  `.keras` files, which Keras loads as dlcore loads Keras's: architecture, weights, compilation and the optimizer's
  state. Functions in a graph of layers are written where Keras has an operation of theirs. Lambdas are refused in both
  directions: code in a file is never run. Weights alone go to `.safetensors` and `.weights.h5` files, and come from
  `.keras` files, too. Files of Keras 2, `.h5`, are not read.
- `dlcore.ops` gives NumPy arrays for plain arrays, tensors for tensors, and within a layer's `call` always tensors;
  beyond `keras.ops` it holds the functions of `dlcore.functional`. float32 with float64 is an error, not a conversion.
- Symbolic tensors have no `_keras_mask`; masks are passed on as a model runs.
- `utils.timeseries_dataset_from_array` and `utils.split_dataset` give sequences of batches and arrays, no tf.data.
- `model.export` writes ONNX files.
- Applications come without trained weights; `weights` takes None only.
- `fit` takes arrays, data frames, and whatever gives batches when it is indexed or iterated over.
"""


def names_of(module: str) -> list[str]:
    """Public classes and functions of one of Keras's modules."""
    found = import_module(f"keras.{module}")
    return sorted(n for n in dir(found) if not n.startswith("_") and not inspect.ismodule(getattr(found, n)))


def ours(module: str):
    try:
        return import_module(f"dlcore.{module}" if module != "optimizers.schedules" else "dlcore.schedules")
    except ModuleNotFoundError:
        return None


def supported(module: str) -> list[str]:
    found = ours(module)
    return [name for name in names_of(module) if name not in ABSENT.get(module, {}) and hasattr(found, name)]


def lacking(module: str, name: str) -> list[str]:
    """Arguments of Keras's that ours does not take."""
    sides = []
    for found in (getattr(import_module(f"keras.{module}"), name), getattr(ours(module), name)):
        try:
            sides.append(inspect.signature(found).parameters)
        except (TypeError, ValueError):
            return []
    theirs, here = sides
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    if any(p.kind in variable for p in here.values()):
        return []
    return [n for n, p in theirs.items() if n not in here and p.kind not in variable and n != "self"]


def page() -> str:
    lines = [
        "# Keras scripts",
        "",
        "A script for Keras 3 within this scope runs with its import changed: `import dlcore as keras`. This page is",
        f"written from Keras {keras.__version__} by `tests/keras_surface.py`, and a test holds it against Keras.",
        "",
        "## Different",
        "",
        DIFFERENT.strip(),
    ]
    short = [
        f"`{m}.{n}` without {', '.join(missing)}" for m in MODULES for n in supported(m) if (missing := lacking(m, n))
    ]
    if short:
        lines += ["", "Arguments that are not taken:", "", *(f"- {line}" for line in short)]
    lines += ["", "## Supported", ""]
    for module in MODULES:
        if found := supported(module):
            lines += [f"**{module}**: {', '.join(found)}", ""]
    lines += ["## Absent", "", "Asking for one of these is an error that says what to use instead.", ""]
    for module in MODULES:
        advised: dict[str, list[str]] = {}
        for name in names_of(module):
            if name in ABSENT.get(module, {}):
                advised.setdefault(ABSENT[module][name], []).append(name)
        if advised:
            lines += [f"**{module}**", ""]
            lines += [f"- {', '.join(names)}: {advice}" for advice, names in advised.items()] + [""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
