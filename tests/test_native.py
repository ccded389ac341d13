"""The native engine's own promises: builds per instruction set, threads, fork, memory."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import dlcore
from dlcore.kernels.reference import recurrent as reference

core = pytest.importorskip("dlcore.kernels.native.core", reason="the native engine is not built")
conv = pytest.importorskip("dlcore.kernels.native.conv")
linear = pytest.importorskip("dlcore.kernels.native.linear")
recurrent = pytest.importorskip("dlcore.kernels.native.recurrent")


def _product(size: int = 192, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, w = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    return x, w, x.astype(np.float64) @ w


def _check_product(seed: int = 0) -> None:
    x, w, expected = _product(seed=seed)
    y = np.empty_like(x)
    linear.linear(x, w, None, y, "linear")
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def restore_threads():
    before = core.num_threads()
    yield
    core.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(count, restore_threads):
    x, w, _ = _product()
    one, many = np.empty_like(x), np.empty_like(x)
    core.set_num_threads(1)
    linear.linear(x, w, None, one, "tanh")
    core.set_num_threads(count)
    linear.linear(x, w, None, many, "tanh")
    np.testing.assert_array_equal(one, many)


def test_python_threads_may_call_at_once(restore_threads):
    core.set_num_threads(2)
    failures = []

    def call(seed):
        try:
            for _ in range(30):
                _check_product(seed)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes(restore_threads):
    core.set_num_threads(2)
    _check_product()
    child = os.fork()
    if child == 0:
        try:
            _check_product(1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    _check_product(2)


def test_idle_threads_sleep(restore_threads):
    core.set_num_threads(2)
    _check_product()
    time.sleep(0.1)  # the spin after the last call
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def test_arrays_of_the_arena_are_aligned_and_recycled():
    core.release()
    other = [core.empty((length,), np.float32) for length in (50_000, 70_000, 300, 800_000)]
    del other  # kept, which must not keep the next ones from being kept, too
    first = core.empty((1000, 100), np.float32)
    address = first.ctypes.data
    assert address % 64 == 0
    del first
    assert core.empty((1000, 100), np.float32).ctypes.data == address
    assert not core.zeros((3, 5), np.float64).any()
    big = core.empty((100,), np.float32)
    big.resize((5000,), refcheck=False)
    assert big.shape == (5000,)


@pytest.mark.parametrize("elements", [2**53, 2**54, 2**58, 2**60])
def test_what_no_memory_holds_is_refused(elements):
    with pytest.raises((MemoryError, ValueError)):
        core.zeros((elements,), np.float32)


def test_an_inlet_copies_whatever_way_the_host_array_lies():
    place = core.empty((6, 4), np.float32)
    inlet = core.Inlet(place)
    values = np.arange(48, dtype=np.float32).reshape(12, 4)
    for host in (values[:6], values[::2], values[::-2], np.asfortranarray(values[6:]), values.reshape(8, 6)[:4].T):
        assert inlet(host)
        np.testing.assert_array_equal(place, host)
    last = place.copy()
    for other in (values, values[:5], values[:6].astype(np.float64), values[:6].astype(">f4"), values[:6, None], None):
        assert not inlet(other)
    np.testing.assert_array_equal(place, last)
    for length in (8192, 8193, 12289, 100003):  # small, and in parts by each thread
        host, place = np.arange(length, dtype=np.float32), core.empty((length,), np.float32)
        core.Inlet(place)(host)
        np.testing.assert_array_equal(place, host)


_RESIDENT = """
import os
from dlcore.kernels.native import core

def resident():  # MiB
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
"""

_AFTER_A_REQUEST_THAT_FAILED = """
before = resident()
try:
    core.zeros((1 << 50,), "f4")
except MemoryError:
    for mebi in (16, 20, 24, 28):
        core.zeros((mebi << 20,), "f4")[:] = 1
    grown = resident() - before
assert grown < 150, grown  # the largest has 112, all together have 352
"""

_WHEN_TOLD_TO = """
arrays = [core.zeros((16 << 20,), "f4") for _ in range(4)]
for a in arrays:
    a[:] = 1
del a, arrays
kept = resident()
core.release()
freed = kept - resident()
assert freed > 200, freed  # of 256
assert not core.zeros((1000,), "f4").any()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="resident memory is read from /proc")
@pytest.mark.parametrize("code", [_AFTER_A_REQUEST_THAT_FAILED, _WHEN_TOLD_TO], ids=["failed request", "release"])
def test_the_arena_gives_back_what_it_keeps(code):
    done = _run(_RESIDENT + code)
    assert done.returncode == 0, done.stderr


def _run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_an_instruction_set_can_be_asked_for():
    code = "from dlcore.kernels.native import core; print(core.isa)"
    assert _run(code, DLCORE_ISA="baseline").stdout.strip() == "baseline"
    code = "from dlcore.backends import get_backend; get_backend('numpy'); get_backend('cython')"
    assert _run(code, DLCORE_ISA="mmx").stderr.splitlines()[-1].partition("DLCORE_ISA='mmx': expected one of ")[2]


_CONVOLUTIONS = """
import sys
sys.path.insert(0, {folder!r})
from conformance import CASES, check
from dlcore.backends import get_backend
for case in CASES:
    if case.primitive.startswith("conv2d"):
        check(get_backend("cython"), case)
"""


@pytest.mark.parametrize("way", ["winograd", "direct"])
def test_convolutions_conform_in_either_way(way):
    done = _run(_CONVOLUTIONS.format(folder=os.path.dirname(__file__)), DLCORE_CONV=way)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", ["", "cython", "cython,numpy"])
@pytest.mark.parametrize("variable", ["DLCORE_CONV", "DLCORE_ISA"])
def test_a_wrong_setting_is_no_reason_to_take_another_engine(name, variable):
    refused = _run("from dlcore.backends import current; current()", **{variable: "fft"}, DLCORE_BACKEND=name)
    expected = "auto, direct, winograd" if variable == "DLCORE_CONV" else ", ".join(core.runnable_isas())
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"dlcore.backends.settings.SettingError: {variable}='fft': expected one of {expected}")


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad"),
    [
        ((2, 16, 15, 48, 40), 3, 1, 1),  # cut by tiles
        ((1, 14, 14, 260, 192), 3, 1, 1),  # by channels
        ((48, 2, 2, 48, 80), 3, 1, 1),
        ((9, 24, 22, 32, 40), 3, 2, 1),
        ((2, 8, 8, 130, 192), 3, 2, 1),
        ((2, 16, 15, 32, 40), 5, 1, 2),
        ((6, 32, 31, 48, 64), 3, 1, 1),  # gradients of the filters by several ranges of tiles
        ((17, 33, 20, 33, 20), 3, 2, 1),
        ((32, 14, 12, 6, 16), 5, 1, 0),  # by rows of LANES images
        ((32, 9, 12, 6, 16), 5, 1, 2),
    ],
)
def test_convolutions_give_the_same_bits_on_any_number_of_threads(shape, kernel, stride, pad, count, restore_threads):
    n, h, w, c, k = shape
    outputs = n, *((size + 2 * pad - kernel) // stride + 1 for size in (h, w)), k
    rng = np.random.default_rng(0)
    shapes = (n, h, w, c), (kernel, kernel, c, k), outputs
    x, filters, dz = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    geometry = ((stride, stride), (pad,) * 4, (1, 1), 1)
    results = []
    for threads in (1, count):
        core.set_num_threads(threads)
        y, dx, dw = np.empty_like(dz), np.empty_like(x), np.empty_like(filters)
        conv.conv2d(x, filters, None, y, *geometry, "relu")
        conv.conv2d_backward_input(dz, filters, dx, *geometry)
        conv.conv2d_backward_weight(x, dz, dw, None, *geometry)
        results.append((y, dx, dw))
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("count", [2, 3])
def test_cores_without_a_common_cache_change_no_bits(count, restore_threads):
    core.set_num_threads(count)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 16, 16, 32)).astype(np.float32)
    y = rng.integers(0, 10, 16)
    found = []
    with dlcore.use_backend("cython"):
        for apart in (False, True):
            core.assume_apart(apart)
            try:
                dlcore.set_random_seed(0)
                layers = dlcore.layers
                model = dlcore.Sequential([
                    layers.Input((16, 16, 32)),
                    layers.Conv2D(32, 3, padding="same"), layers.BatchNormalization(), layers.Activation("relu"),
                    layers.Conv2D(48, 3, padding="same", activation="tanh"), layers.MaxPooling2D(), layers.Dropout(0.1),
                    layers.Reshape((64, 48)), layers.LSTM(192), layers.Dense(512, activation="gelu"), layers.Dense(10),
                ])  # fmt: skip
                model.compile("adam", dlcore.losses.SparseCategoricalCrossentropy(from_logits=True))
                losses = [model.train_on_batch(x, y) for _ in range(5)]
                found.append([losses, model.predict_on_batch(x), *model.get_weights()])
            finally:
                core.assume_apart(None)
    for together, apart in zip(*found, strict=True):
        np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", ["lstm", "gru", "gru_before"])
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"),
    [
        (45, 6, 70, 210),  # two groups of sequences; kernels that no core's L2 holds
        (20, 40, 40, 400),  # nor holds the recurrent one; several passes of the weight gradients on tiles
    ],
)
def test_threads_that_share_the_units_of_a_recurrent_layer_give_the_same_bits(
    kind, count, rows, steps, inputs, units, restore_threads
):
    gates = 4 if kind == "lstm" else 3
    rng = np.random.default_rng(0)

    def real(*shape):
        return 0.2 * rng.standard_normal(shape).astype(np.float32)

    x, h0, c0, w = real(rows, steps, inputs), real(rows, units), real(rows, units), real(inputs, gates * units)
    u, b = 0.5 * real(units, gates * units), real(2, gates * units) if kind == "gru" else real(gates * units)
    mask = (rng.random((rows, steps)) < 0.7).astype(np.uint8)
    dh, dc = real(rows, steps, units), real(rows, units)

    def run(engine):
        h, c, kept = np.zeros_like(dh), np.zeros_like(dh), np.zeros((rows, steps, 4 * units), x.dtype)
        dx, dh0, dc0, dw, du, db = (np.zeros_like(array) for array in (x, h0, c0, w, u, b))
        if kind == "lstm":
            engine.lstm(x, h0, c0, w, u, b, mask, h, c, kept)
            engine.lstm_backward(dh, dc, x, h0, c0, w, u, mask, h, c, kept, dx, dh0, dc0, dw, du, db, False)
            return h, c, kept, dx, dh0, dc0, dw, du, db
        engine.gru(x, h0, w, u, b, mask, h, kept, kind == "gru")
        engine.gru_backward(dh, x, h0, w, u, mask, h, kept, dx, dh0, dw, du, db, kind == "gru", False)
        return h, kept, dx, dh0, dw, du, db

    core.set_num_threads(1)
    alone = run(recurrent)
    core.set_num_threads(count)
    for one, many, expected in zip(alone, run(recurrent), run(reference), strict=True):
        np.testing.assert_array_equal(one, many)
        np.testing.assert_allclose(many, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("isa", [isa for isa in core.runnable_isas() if isa != core.isa])
def test_the_other_builds_that_run_here_pass_the_conformance_table(isa):
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-k", "cython"]
    command += [os.path.join(os.path.dirname(__file__), "test_conformance.py")]
    done = subprocess.run(command, env={**os.environ, "DLCORE_ISA": isa}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("isa", core.runnable_isas())
def test_arrays_too_large_for_the_caches_give_the_same_results(isa):
    command = [sys.executable, "-P", os.path.join(os.path.dirname(__file__), "past_caches.py")]
    done = subprocess.run(command, env={**os.environ, "DLCORE_ISA": isa}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
