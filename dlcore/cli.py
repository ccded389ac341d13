"""The command line, `dlcore` or `python -m dlcore`: train, evaluate, predict, summary, backends, warmup, bench.

A user's mistake ends with one line on standard error and exit code 2, never with a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import numpy as np

    from .models import Model

DATA = ("digits", "mnist", "fashion_mnist")
MODELS = {  # name here -> name in dlcore.applications
    "lenet5": "LeNet5",
    "mlp": "MLP",
    "alexnet": "AlexNet",
    "vgg11": "VGG11",
    "vgg13": "VGG13",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet18": "ResNet18",
    "resnet34": "ResNet34",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
}
_SUFFIX = ".safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 2 for a user's mistake, 130 after Ctrl-C."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse has said what was wrong, or has shown its help
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("dlcore: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, a pager or `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _mistakes() as error:
        print(f"dlcore: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"dlcore: error: {message} (dlcore --help shows how it is used)\n")


def _mistakes() -> tuple[type[Exception], ...]:
    from .backends import BackendUnavailableError
    from .backends.settings import SettingError

    return OSError, ValueError, ModuleNotFoundError, BackendUnavailableError, SettingError


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(prog="dlcore", description="Train and use neural networks on interchangeable engines.")
    parser.add_argument("--version", action="version", version=f"dlcore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        added.set_defaults(run=run)
        return added

    train = command("train", _train, "train a model, test it on held-out data, and save it")
    evaluate = command("evaluate", _evaluate, "test a saved model on held-out data")
    predict = command("predict", _predict, "show what a saved model makes of held-out samples")
    summary = command("summary", _summary, "show a model's layers, shapes and parameter counts")
    engines = command("backends", _backends, "show the engines: which work here, and why the others do not")
    warm = command("warmup", _warmup, "compile an engine's kernels ahead of time, or load them from the cache")
    bench = command("bench", _bench, "time training and prediction of small models on each engine")

    for sub in (train, evaluate, predict, summary):
        sub.add_argument("--backend", metavar="NAME", help="engine to run on, or several in order of preference")
        sub.add_argument(
            "--model",
            default="lenet5" if sub in (train, summary) else None,
            required=sub in (evaluate, predict),
            help=f"{', '.join(MODELS)} or a saved model (*{_SUFFIX})" if sub in (train, summary) else "a saved model",
        )
    for sub in (train, evaluate, predict, summary):
        sub.add_argument(
            "--data",
            default="digits",
            help=f"{', '.join(DATA)}, a folder with IDX files named like MNIST's, "
            "or an .npz file with x_train, y_train, x_test, y_test",
        )
    for sub in (train, evaluate, predict):
        sub.add_argument("--batch-size", type=_count, default=32, metavar="N")
    train.add_argument("--epochs", type=_count, default=10, metavar="N")
    train.add_argument("--optimizer", default="adam", metavar="NAME")
    train.add_argument("--learning-rate", type=float, metavar="X", help="instead of the optimizer's own default")
    train.add_argument("--momentum", type=float, metavar="X", help="of optimizer sgd")
    train.add_argument("--cosine", action="store_true", help="let the learning rate fall to 0 along half a cosine wave")
    train.add_argument("--seed", type=_seed, default=0, metavar="N", help="of weights, shuffles and dropout")
    train.add_argument("--save", type=Path, metavar="FILE", help=f"where to save the trained model (*{_SUFFIX})")
    train.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the training curves (.png, .svg, .pdf)")
    predict.add_argument("--count", type=_count, default=10, metavar="N", help="how many samples")
    predict.add_argument("--save", type=Path, metavar="FILE", help="where to save the outputs (.npy)")
    engines.add_argument("--coverage", action="store_true", help="also show which engine has which primitive")
    engines.add_argument("--names", action="store_true", help="only the names of the engines that work here")
    warm.add_argument("--backend", metavar="NAME", help="engine to prepare (the one that would be used)")
    warm.add_argument("--float64", action="store_true", help="for double precision too")
    bench.add_argument("--backend", metavar="NAMES", help="engines to time, separated by commas (all that work here)")
    return parser


# ---- commands -------------------------------------------------------------------------------------------------------


def _train(options: argparse.Namespace) -> None:
    _writable(options.save, "--save", (_SUFFIX,))
    _writable(options.plot, "--plot", (".png", ".svg", ".pdf"))
    if options.plot is not None:
        from . import plots

        plots.new_figure()  # a missing matplotlib is told before the work is done, not after
    _choose(options)
    from . import callbacks, random

    random.set_seed(options.seed)
    model, (x, y), (xt, yt) = _model_and_data(options)
    model.compile(optimizer=_optimizer(options, len(x)), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    history = model.fit(
        x,
        y,
        batch_size=options.batch_size,
        epochs=options.epochs,
        validation_data=(xt, yt),
        callbacks=[callbacks.TerminateOnNaN()],
        verbose="auto",
    )
    seconds = time.perf_counter() - start
    _report(model, xt, yt, options.batch_size, f"trained for {seconds:.1f} s")
    if options.save is not None:
        model.save(options.save)
        print(f"saved {options.save}")
    if options.plot is not None:
        history.plot().savefig(options.plot, dpi=150)
        print(f"drew {options.plot}")


def _optimizer(options: argparse.Namespace, rows: int) -> Any:
    from . import optimizers

    config: dict[str, Any] = {}
    if options.momentum is not None:
        if options.optimizer.lower() != "sgd":
            raise ValueError(f"--momentum goes with --optimizer sgd, got {options.optimizer}")
        config["momentum"] = options.momentum
    if options.learning_rate is not None:
        config["learning_rate"] = options.learning_rate
    optimizer: Any = optimizers.get({"class_name": options.optimizer, "config": config})
    if options.cosine:
        steps = -(-rows // options.batch_size) * options.epochs
        optimizer.learning_rate = optimizers.schedules.CosineDecay(float(optimizer.learning_rate), steps)
    return optimizer


def _evaluate(options: argparse.Namespace) -> None:
    _choose(options)
    model, _, (xt, yt) = _model_and_data(options, saved=True)
    _report(model, xt, yt, options.batch_size)


def _predict(options: argparse.Namespace) -> None:
    import numpy as np

    _writable(options.save, "--save", (".npy",))
    _choose(options)
    model, _, (xt, yt) = _model_and_data(options, saved=True)
    xt, yt = xt[: options.count], yt[: options.count]
    outputs = np.asarray(model.predict(xt, batch_size=options.batch_size, verbose=0))
    print(f"{'sample':>6}  {'predicted':>9}  {'score':>7}  {'true':>4}")
    for i, (row, label) in enumerate(zip(outputs, yt, strict=True)):
        best = int(row.argmax())
        print(f"{i:6d}  {best:9d}  {row[best]:7.4f}  {int(label):4d}{'' if best == label else '  wrong'}")
    if options.save is not None:
        np.save(options.save, outputs)
        print(f"saved {options.save}")


def _summary(options: argparse.Namespace) -> None:
    _choose(options)
    if options.model in MODELS:
        (x, y), _ = _load_data(options.data, _image_size(options.model))
        _new_model(options.model, x.shape[1:], int(y.max()) + 1).summary()
    else:
        _saved_model(options.model).summary()


def _backends(options: argparse.Namespace) -> None:
    from .backends import BackendUnavailableError, available_backends, backend_status, coverage, current, get_backend
    from .backends.interface import PRIMITIVES
    from .backends.settings import SettingError

    if options.names:
        print("\n".join(available_backends()))
        return
    status = backend_status()
    active = current().name
    rows = []
    for name, reason in status.items():
        if reason is None:
            try:
                engine = get_backend(name)
            except (BackendUnavailableError, SettingError) as error:
                reason = str(error)
        if reason is not None:
            rows.append((name, "no", "", "", "", reason))
            continue
        info = engine.info()
        threads, isa = info.pop("threads", ""), info.pop("instruction set", "")
        rest = ", ".join(f"{key} {value}" for key, value in info.items())
        native = f"{len(engine.native)} of {len(PRIMITIVES)}"
        rows.append((f"{name} *" if name == active else name, "yes", threads, isa, native, rest))
    _table(("engine", "works", "threads", "instruction set", "native", "notes"), rows)
    print("\n* the active one")
    if options.coverage:
        print()
        table = coverage()
        _table(("primitive", *status), [(op, *(row[name] for name in status)) for op, row in table.items()])


def _warmup(options: argparse.Namespace) -> None:
    from . import backend, warmup

    name = options.backend or backend()
    print(f"{name}: compiling, or loading from the cache …", flush=True)
    seconds = warmup(name, ("float32", "float64") if options.float64 else ("float32",))
    print(f"{name}: ready after {seconds:.1f} s")


def _bench(options: argparse.Namespace) -> None:
    from .backends import available_backends, get_backend

    names = available_backends()
    if options.backend is not None:
        names = [name.strip() for name in options.backend.split(",") if name.strip()]
    names.sort(key=lambda name: name != "numpy")
    engines = [get_backend(name) for name in names]
    rows = []
    for words, prepare in _bench_cases():
        times = [_median_ms(prepare(name)) for name in names]
        rows.append((words, *(f"{ms:.2f}" + (f" ({times[0] / ms:.1f}×)" if i else "") for i, ms in enumerate(times))))
    _table(("ms per call" + (f" (speed against {names[0]})" if len(names) > 1 else ""), *names), rows)
    for name, engine in zip(names, engines, strict=True):
        if engine.fallbacks:
            print(f"{name}: the reference kernels stand in for {', '.join(sorted(engine.fallbacks))}")


# ---- models and data ------------------------------------------------------------------------------------------------


def _choose(options: argparse.Namespace) -> None:
    if options.backend is not None:
        from .backends import use_backend

        use_backend(options.backend)


def _model_and_data(
    options: argparse.Namespace, saved: bool = False
) -> tuple[Model, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    import numpy as np

    if options.model in MODELS and not saved:
        train, test = _load_data(options.data, _image_size(options.model))
        classes = int(max(train[1].max(initial=0), test[1].max(initial=0))) + 1
        return _new_model(options.model, train[0].shape[1:], classes), train, test
    model = _saved_model(options.model)
    wanted = tuple(model.input_shape)[1:]
    train, test = _load_data(options.data, wanted[:2] if len(wanted) == 3 else (8, 8))
    for x in (train[0], test[0]):
        if np.prod(x.shape[1:]) != np.prod(wanted):
            raise ValueError(
                f"{options.model} takes samples of shape {list(wanted)}, but {options.data} has {list(x.shape[1:])}"
            )
    return (
        model,
        (train[0].reshape(-1, *wanted), train[1]),
        (test[0].reshape(-1, *wanted), test[1]),
    )


def _new_model(name: str, input_shape: tuple[int, ...], classes: int) -> Model:
    from . import applications

    if name != "mlp" and len(input_shape) != 3:
        raise ValueError(f"{name} takes images [height, width, channels], but the data's samples are {input_shape}")
    small = {"small_images": True} if name.startswith(("alexnet", "resnet")) and min(input_shape[:2]) < 64 else {}
    return getattr(applications, MODELS[name])(input_shape, classes, **small)


def _image_size(model: str) -> tuple[int, int]:
    """The size to which the digits, 8 × 8, are brought."""
    return (8, 8) if model == "mlp" else (32, 32)


def _saved_model(path: str) -> Model:
    from .models import load_model

    if path in MODELS:
        raise ValueError(f"--model: {path} is not trained yet; train and save it, then give the *{_SUFFIX} file")
    if not path.endswith(_SUFFIX):
        from .naming import unknown_name

        raise unknown_name(f"model (neither one to build nor a *{_SUFFIX} file)", path, MODELS)
    if not Path(path).is_file():
        raise FileNotFoundError(f"--model: there is no file {path}")
    return load_model(path)


def _load_data(
    name: str, image_size: tuple[int, int]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and test split: samples as float32 (images `[N, H, W, C]`, integers brought to 0 … 1), labels int64."""
    from . import datasets

    if name == "digits":
        return datasets.digits.load_data(image_size)
    if name in ("mnist", "fashion_mnist"):
        splits = getattr(datasets, name).load_data()
    elif Path(name).is_dir():
        splits = datasets.mnist.load_data(name)
    elif Path(name).is_file():
        splits = _load_npz(Path(name))
    else:
        from .naming import unknown_name

        raise unknown_name("data (neither a data set nor a folder or file that exists)", name, DATA)
    (x, y), (xt, yt) = splits
    return _prepared(x, y, name), _prepared(xt, yt, name)


def _load_npz(path: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    import zipfile
    import zlib

    import numpy as np

    keys = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is no zip archive")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [key for key in keys if key not in arrays]
            found = [arrays[key] for key in keys if key in arrays]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(f"--data: {path} is not a sound .npz file: {error}") from None
    if missing:
        raise ValueError(f"--data: {path} lacks {', '.join(missing)}")
    x, y, xt, yt = found
    return (x, y), (xt, yt)


def _prepared(x: np.ndarray, y: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    if x.ndim < 2 or y.shape != x.shape[:1] or not len(x) or x.dtype.kind not in "uif":
        raise ValueError(
            f"--data: {name} must hold numeric samples [N, ...] and one label for each, "
            f"got {x.dtype} {list(x.shape)} and {y.dtype} {list(y.shape)}"
        )
    if y.dtype.kind not in "ui" or y.min() < 0:
        raise ValueError(f"--data: the labels of {name} must be whole numbers from 0 up, got {y.dtype} from {y.min()}")
    scale = np.float32(1 / np.iinfo(x.dtype).max) if x.dtype.kind in "ui" else np.float32(1)
    x = x.astype(np.float32) * scale
    return (x[..., None] if x.ndim == 3 else x), y.astype(np.int64)


# ---- what is said ---------------------------------------------------------------------------------------------------


def _report(model: Model, x: np.ndarray, y: np.ndarray, batch_size: int, more: str = "") -> None:
    from .backends import current

    if getattr(model, "optimizer", None) is None:
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    results: Any = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
    if "accuracy" not in results:
        raise ValueError("the model was not compiled with metrics=['accuracy']")
    print(
        f"{current().name}: test accuracy {100 * results['accuracy']:.2f} %, loss {results['loss']:.4f} "
        f"on {len(x)} held-out samples" + (f"; {more}" if more else "")
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# ---- timing ---------------------------------------------------------------------------------------------------------


def _bench_cases() -> list[tuple[str, Callable[[str], Callable[[], Any]]]]:
    from . import applications, random
    from .backends import use_backend

    def model_on(name: str, build: Callable[..., Model], shape: tuple[int, ...]) -> Model:
        use_backend(name)
        random.set_seed(0)
        model = build(shape, 10)
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        return model

    def training(build: Callable[..., Model], shape: tuple[int, ...], batch: int) -> Callable[[str], Callable[[], Any]]:
        def prepare(name: str) -> Callable[[], Any]:
            model = model_on(name, build, shape)
            x = random.host_generator().random((batch, *shape), dtype="float32")
            y = random.host_generator().integers(0, 10, batch)
            return lambda: model.train_on_batch(x, y)

        return prepare

    def prediction(
        build: Callable[..., Model], shape: tuple[int, ...], batch: int
    ) -> Callable[[str], Callable[[], Any]]:
        def prepare(name: str) -> Callable[[], Any]:
            model = model_on(name, build, shape)
            x = random.host_generator().random((batch, *shape), dtype="float32")
            return lambda: model.predict_on_batch(x)

        return prepare

    lenet, mlp = applications.LeNet5, applications.MLP
    return [
        ("LeNet-5, training step, batch 32", training(lenet, (32, 32, 1), 32)),
        ("LeNet-5, prediction, batch 256", prediction(lenet, (32, 32, 1), 256)),
        ("MLP 784-512-256-10, training step, batch 64", training(mlp, (28, 28, 1), 64)),
        ("MLP 784-512-256-10, prediction, batch 256", prediction(mlp, (28, 28, 1), 256)),
    ]


def _median_ms(call: Callable[[], Any], seconds: float = 1.0, most: int = 200) -> float:
    """Median of up to `most` calls in about `seconds`, after a pause and three to warm up.

    In the pause the BLAS's threads, which spin for a while after an engine's last call, fall asleep: awake they would
    take half of the next engine's speed.
    """
    from statistics import median

    time.sleep(0.3)
    for _ in range(3):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (len(times) < most and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)


# ---- what argparse checks -------------------------------------------------------------------------------------------


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 4294967295, got {text!r}")
    return int(text)


def _writable(path: Path | None, argument: str, suffixes: tuple[str, ...]) -> None:
    """Complain about an output file before the work is done, not after."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise ValueError(f"{argument}: {path} must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{argument}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{argument}: {path} cannot be written")
