"""Products of matrices in the native engine: how exact they are, at which numbers, in every build.

Builds with tiles (`amx`, and `wide`, where they are emulated) split each float into three numbers in bfloat16. All is
held to what a plain sum in float32 gives; what tiles do otherwise, at both ends of the range, is said where it is
tested.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

core = pytest.importorskip("dlcore.kernels.native.core", reason="the native engine is not built")
linear = pytest.importorskip("dlcore.kernels.native.linear")

ON_TILES = core.isa in ("amx", "wide")
LARGEST, SMALLEST = np.finfo(np.float32).max, np.finfo(np.float32).tiny  # of normal numbers

# m, n, k: whole blocks of tiles, and edges in every direction; one and several blocks of steps; threads share rows or
# columns; rows of A a page apart. The large ones are on tiles where there are any. Beside few rows a large B is read by
# whole rows: threads share blocks of steps, or columns where there are few blocks.
SHAPES = [(32, 64, 64), (37, 50, 77), (17, 200, 999), (200, 17, 25), (37, 50, 1024)]
SHAPES += [(1, 300, 4097), (2, 1031, 263), (3, 300, 4097), (5, 4099, 263), (13, 67, 20011), (16, 1031, 1025)]
LARGE_SHAPES = [(160, 128, 96), (300, 70, 77), (129, 65, 400), (100, 300, 257), (70, 90, 3000)]
SHAPES += LARGE_SHAPES


def _products(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """A B in each order in which a dense layer has its operands, and with weights packed beforehand."""
    y = [np.full((a.shape[0], b.shape[1]), np.nan, np.float32) for _ in range(4)]
    linear.linear(a, b, None, y[0], "linear")
    yield "forward", y[0]
    linear.prepare_linear(a, b, None, y[1], "linear", levels=0)()
    yield "prepared", y[1]
    linear.linear_backward_input(a, np.ascontiguousarray(b.T), y[2])
    yield "gradient of the input", y[2]
    linear.linear_backward_weight(np.ascontiguousarray(a.T), b, y[3], None)
    yield "gradient of the weights", y[3]


def _plain_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A B in float32, one step after the other."""
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for p in range(a.shape[1]):
        c += a[:, p : p + 1] * b[p]
    return c


def _operands(m: int, n: int, k: int, numbers: str = "normal", seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = {
        "normal": rng.standard_normal,
        "positive": rng.random,  # errors of one sign would add up
        "of all sizes": lambda shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-60, 61, shape),
    }[numbers]
    return [draw(shape).astype(np.float32) for shape in ((m, k), (k, n))]


@pytest.mark.parametrize("numbers", ["normal", "positive", "of all sizes"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_errors_are_those_of_float32(shape, numbers):
    a, b = _operands(*shape, numbers)
    exact = a.astype(np.float64) @ b
    scale = np.abs(a).astype(np.float64) @ np.abs(b)  # what errors of products are in proportion to

    def errors(y):
        error = np.abs(y - exact) / scale
        return np.array([error.max(), np.sqrt(np.mean(error**2))])

    allowed = errors(_plain_sums(a, b)) * [1.6, 1.25]  # found: at most 1.43, 1.13
    if ON_TILES and shape in LARGE_SHAPES and numbers != "of all sizes":
        allowed *= 0.5  # they add 32 products at a time; found: 0.53, 0.52
    for label, y in _products(a, b):
        assert (errors(y) <= allowed).all(), (label, errors(y) / allowed)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_numbers_multiply_exactly(shape):
    m, n, k = shape
    rng = np.random.default_rng(0)
    most = (2**24 - 1) // (k * 2048)  # float32 has all whole numbers up to 2^24
    a = rng.integers(-2048, 2049, (m, k)).astype(np.float32)
    b = rng.integers(-most, most + 1, (k, n)).astype(np.float32)
    few = np.where(np.arange(k)[:, None] % 37 == np.arange(n) % 37, rng.integers(-2048, 2049, (k, n)), 0)[:111]
    for x, w in ((a, b), (a[:, : len(few)].copy(), few.astype(np.float32))):
        expected = x.astype(np.float64) @ w
        assert np.abs(expected).max() < 2**24
        for label, y in _products(x, w):
            np.testing.assert_array_equal(y, expected, err_msg=label)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numbers_that_are_only_moved_and_scaled_stay_whole(shape):
    m, n, k = shape
    rng = np.random.default_rng(0)
    fractions = rng.integers(2**23, 2**24, (m, k)) * rng.choice([-1, 1], (m, k))
    powers = rng.integers(-103, 128, (m, k)) - 23  # from 2^-103 = 1e-31 on tiles have all three pieces
    a = np.ldexp(fractions.astype(np.float32), powers)
    a[::5, ::3] = LARGEST  # would round to infinity in eight bits
    a[1::5, 1::3] = -LARGEST
    b, from_ = np.zeros((k, n), np.float32), rng.integers(0, k, n)
    b[from_, np.arange(n)] = rng.choice([-1, 1], n)
    for label, y in _products(a, b):
        np.testing.assert_array_equal(y, a[:, from_] * b[from_, np.arange(n)], err_msg=label)
    a *= np.float32(0.5**20)
    b *= np.ldexp(np.float32(1), rng.integers(0, 20, n))
    a[np.abs(a) < 2.0**-103] = 0
    for label, y in _products(a, b):
        np.testing.assert_array_equal(y, a[:, from_] * b[from_, np.arange(n)], err_msg=label)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("values", [(np.nan,), (np.inf,), (np.inf, -np.inf, np.nan)], ids=str)
def test_infinities_and_nans_come_where_a_sum_has_them(shape, values):
    a, b = _operands(*shape)
    rng = np.random.default_rng(1)
    for x in (a, b):
        for value in values:
            x[rng.integers(0, x.shape[0], 3), rng.integers(0, x.shape[1], 3)] = value
    b[rng.integers(0, b.shape[0], 9), rng.integers(0, b.shape[1], 9)] = 0  # infinity times zero
    with np.errstate(invalid="ignore", over="ignore"):
        wide = a.astype(np.float64) @ b
        expected = wide.astype(np.float32)
    assert not np.isfinite(expected).all()
    for label, y in _products(a, b):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected), err_msg=label)
        np.testing.assert_array_equal(np.sign(y[np.isinf(y)]), np.sign(expected[np.isinf(y)]), err_msg=label)
        np.testing.assert_array_equal(np.isinf(y), np.isinf(expected), err_msg=label)
        near = np.isfinite(expected) & (np.abs(wide) < 1e6)
        np.testing.assert_allclose(y[near], wide[near], rtol=0, atol=1e-5 * np.sqrt(shape[2]), err_msg=label)


def test_the_largest_numbers_leave_other_rows_and_columns_their_bits():
    a, b = _operands(100, 130, 90)
    a[33], b[:, 40] = 0, 0
    a[33, 7] = LARGEST
    b[7] *= 0.99 / np.abs(b[7]).max()  # from 0.992 of LARGEST on pieces, which are rounded up, may overflow
    b[7, 40] = 1
    others = np.arange(100) != 33
    before = {label: y[others] for label, y in _products(np.where(others[:, None], a, 0).astype(np.float32), b)}
    for label, y in _products(a, b):
        np.testing.assert_array_equal(y[others], before[label], err_msg=label)
        np.testing.assert_allclose(y[33], LARGEST * b[7], rtol=3e-7, err_msg=label)
        assert y[33, 40] == LARGEST, label


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("powers", [(-140, -100, 0, 1), (-70, -60, -70, -50), (-149, -120, 0, 40)], ids=str)
def test_small_numbers_are_lost_by_less_than_the_smallest(shape, powers):
    """Tiles take pieces of numbers, products and sums below 1.2e-38, the smallest normal number, for zero.

    So of a number below 1e-31 a part may be missing, which is less than 1.2e-38, and which the other factor multiplies;
    and each of the products and sums may be wrong by as much.
    """
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = (
        (rng.standard_normal(size) * 2.0 ** rng.integers(low, high, size)).astype(np.float32)
        for size, low, high in (((m, k), *powers[:2]), ((k, n), *powers[2:]))
    )
    exact = a.astype(np.float64) @ b
    scale = np.abs(a).astype(np.float64) @ np.abs(b)
    lost = np.float64(SMALLEST) * (np.abs(a).sum(1)[:, None] + np.abs(b).sum(0) + 12.0 * k)
    for label, y in _products(a, b):
        assert (np.abs(y - exact) <= 1e-6 * scale + lost).all(), label


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_number_of_threads_gives_the_same_bits(shape, count):
    a, b = _operands(*shape)
    a[-1, 5] = np.inf  # a block of tiles that is made again
    before, found = core.num_threads(), []
    try:
        for threads in (1, count):
            core.set_num_threads(threads)
            found.append(dict(_products(a, b)))
    finally:
        core.set_num_threads(before)
    for label, one in found[0].items():
        np.testing.assert_array_equal(one, found[1][label], err_msg=label)


_BITS = """
from test_products import LARGE_SHAPES, _operands, _products
from zlib import crc32
for shape in LARGE_SHAPES:
    print([crc32(y) for numbers in ("normal", "of all sizes") for _, y in _products(*_operands(*shape, numbers))])
"""


@pytest.mark.skipif(core.isa != "amx" or "wide" not in core.runnable_isas(), reason="needs tiles of both kinds")
def test_emulated_tiles_give_the_bits_of_the_processors():
    assert _run(_BITS, isa="wide") == _run(_BITS)


# ---- Linux lends the tiles' registers to a process that asks, unless a thread has too little room to keep them ----

_SCRIPT = f"""
import ctypes, os, sys, threading
sys.path.insert(0, {os.path.dirname(__file__)!r})
exact = []

def multiply():
    from test_products import _operands, _products
    a, b = _operands(70, 75, 400)
    exact.extend(abs(y - a.astype(float) @ b).max() < 1e-4 for _, y in _products(a, b))
"""

_ANYWHERE = """
may_begin = threading.Event()
older = threading.Thread(target=lambda: may_begin.wait() and multiply(), daemon=True)
older.start()
multiply()  # only now the engine is loaded
may_begin.set()
younger = threading.Thread(target=multiply)
younger.start()
older.join(), younger.join()
child = os.fork()
if not child:
    multiply()
    os._exit(not all(exact))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(exact) == 12 and all(exact)
"""

_NO_ROOM = """
class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

room = ctypes.create_string_buffer(4096)  # where tiles alone have 8 KiB
assert not ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(room), 0, len(room))), None)
multiply()
assert all(exact)
from dlcore.kernels.native import core
assert "amx" not in core.runnable_isas()
print(core.isa)
"""


def _run(code: str, *options: str, isa: str = core.isa) -> str:
    command = [sys.executable, *options, "-c", _SCRIPT + code]
    environment = {**os.environ, "DLCORE_ISA": isa}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")], ids=str)  # which gives signals a stack of their own
def test_older_and_younger_threads_and_children_multiply(options):
    _run(_ANYWHERE, *options)


@pytest.mark.skipif(core.isa != "amx", reason="not on tiles")
def test_without_tiles_the_next_build_is_taken():
    assert _run(_NO_ROOM, isa="") == core.runnable_isas()[1]


@pytest.mark.parametrize("isa", [isa for isa in core.runnable_isas() if isa != core.isa])
def test_other_builds_that_run_here_do_the_same(isa):
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-k", "not other_builds", __file__]
    done = subprocess.run(command, env={**os.environ, "DLCORE_ISA": isa}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
