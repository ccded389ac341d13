"""The backend interface: every primitive of the compute core, its shapes and its contract.

This is the page to read first. A backend is one engine (NumPy, Numba, Cython + C, CuPy + CUDA); a primitive is one
operation that every engine offers under the same name with the same parameters. Everything above this line (autograd,
layers, training) is written once and calls nothing but what stands here.

The contract
------------
* **Destination-passing.** A primitive writes into arrays that it is given and returns nothing. Inputs come first, then
  outputs, then attributes. Scratch memory is the engine's own business.
* Arrays are C-contiguous in the engine's memory space, `float32` or `float64` ("real"), all reals of one call alike.
  Only `copy` takes strided views. Any axis may have length 0 or 1.
* Layouts: images `[N, H, W, C]`, filters `[kh, kw, C / groups, K]` (HWIO), sequences `[N, T, I]`, matrices row-major.
* An argument written `array | None` may be None: an absent bias is not added, an absent output is not computed.
* Gradients come as primitives of their own. `d<name>` is the gradient of the loss with respect to `<name>`.
  With `accumulate=True` a parameter gradient (`dw`, `db`, `dgamma` …) is added to what the array holds; `dx` never is.
* An output may be the same array as an input only where this page says so ("in place allowed").
* Callers check (shape, dtype, contiguity, range); kernels trust them. `dlcore.functional` is that caller.
* Fused activations (`FUSED_ACTIVATIONS`) are those whose gradient follows from their output alone: the epilogue of
  `linear`, `conv2d` and `batchnorm`, and undone by `activation_backward` before the gradients of those are taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

Array = Any  # numpy.ndarray on the CPU engines, cupy.ndarray on a GPU

FUSED_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
ACTIVATIONS = (
    "linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "exponential",
    "softplus", "softsign", "silu", "gelu", "relu6", "hard_sigmoid", "step",
)  # fmt: skip
UNARY_OPS = ("neg", "exp", "log", "sqrt", "square", "abs", "sign", "reciprocal", "sin", "cos")
BINARY_OPS = ("add", "sub", "mul", "div", "pow", "maximum", "minimum")
COMPARE_OPS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
REDUCE_OPS = ("sum", "mean", "max", "min")

PRIMITIVES: dict[str, str] = {}  # primitive -> kernel family, the file that holds its kernel in every engine


def primitive(family: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a method in the interface; its kernel is the function of the same name in `kernels/<engine>/<family>`."""

    def enter(method: Callable[..., None]) -> Callable[..., None]:
        PRIMITIVES[method.__name__] = family
        return method

    return enter


def fits(host: Any, place: Array) -> bool:
    """Whether `host` is an array on the host of the shape and dtype of `place`."""
    return isinstance(host, np.ndarray) and host.shape == place.shape and host.dtype == place.dtype


class BackendUnavailableError(RuntimeError):
    """An engine cannot run here; the message says why and what to install."""


class Backend:
    """One engine: a memory space and a kernel for every primitive.

    A subclass names its `kernels` package; construction binds each primitive to the kernel of the same name, as an
    attribute of the instance, so that a call goes straight to the kernel. A primitive that the package lacks is bound
    to the reference kernel of the same memory space and listed in `fallbacks`.

    Attributes:
        name: the name it is chosen by.
        native: primitives with a kernel of this engine's own.
        fallbacks: primitives served by the reference kernels instead.
    """

    name: ClassVar[str]
    kernels: ClassVar[str]  # import path of the kernel package
    reference: ClassVar[str] = "dlcore.kernels.reference"
    array_type: Any = np.ndarray  # the class of its arrays
    fuses: ClassVar[dict[str, tuple[str, ...]]] = {}  # primitive -> further arguments that `bind` takes for it
    asked_as: str | None = None  # the name that `get_backend` made it for, device included

    def __init__(self) -> None:
        self.native: frozenset[str]
        self.fallbacks: frozenset[str]
        own = {name: _find_kernel(self.kernels, family, name) for name, family in PRIMITIVES.items()}
        self.native = frozenset(name for name, kernel in own.items() if kernel is not None)
        self.fallbacks = frozenset(own) - self.native
        for name, kernel in own.items():
            setattr(self, name, kernel or _find_kernel(self.reference, PRIMITIVES[name], name))

    def __repr__(self) -> str:
        return f"<dlcore backend {self.name!r}: {len(self.native)} of {len(PRIMITIVES)} primitives native>"

    def __reduce__(self) -> tuple:
        """A copy is the engine itself, and a pickle its name: there is one of each in a process."""
        from .registry import get_backend

        return get_backend, (self.asked_as or self.name,)

    # ---- what the engine is -------------------------------------------------------------------------------------

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this engine cannot run here and what to do about it, or None if it can. Must not raise."""
        return None

    def info(self) -> dict[str, str]:
        """What `dlcore backends` shows: device, threads, instruction set, versions."""
        return {}

    def set_num_threads(self, count: int) -> None:
        """Use `count` threads from the next primitive on. Engines without a pool of their own ignore it."""

    def warmup(self, dtypes: tuple[Any, ...]) -> None:
        """Compile, or load from a cache on disk, every kernel for arrays of these types (NumPy's float32, float64), so
        that no first call has to. Engines that compile nothing at run time have nothing to do."""

    # ---- memory: plain host arrays unless an engine says otherwise ----------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A C-contiguous array with undefined contents in the engine's memory space."""
        return np.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A C-contiguous array of zeros."""
        return np.zeros(shape, dtype)

    def asarray(self, host: np.ndarray) -> Array:
        """Bring a host array into the engine's memory space, C-contiguous; no copy where it is there already."""
        return np.asarray(host, order="C")  # np.ascontiguousarray would give a scalar an axis

    device_memory: tuple[int, ...] = ()  # DLPack's numbers for the kinds of memory, the host's apart, that it works in

    def from_device(self, x: Any) -> Array:
        """An engine's array over the memory of x, which speaks DLPack and lies in `device_memory`."""
        raise NotImplementedError

    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring an array to the host; no copy where it is there already."""
        return array

    def synchronize(self) -> None:
        """Wait until all work handed to the engine is done."""

    def release(self) -> None:
        """Give back to the system what memory is kept for arrays to come."""

    # ---- what recording and replaying a step needs (capture.py) --------------------------------------------------

    def on_host(self, function: Callable[..., None], *arrays: Array) -> None:
        """Run a check of values on the host, `function(*arrays)`; a recorded step repeats it in every replay."""
        function(*arrays)

    def share(self, array: Array) -> Array:
        """The array, which goes to another library."""
        return array

    def lend(self, array: Array, owner: Any) -> Array:
        """The same memory as an array of its own, from which, as from all its views, `owner_of` gives `owner`."""
        owner.__array_interface__ = array.__array_interface__
        return np.asarray(owner)

    def owner_of(self, array: Array) -> Any:
        """The owner that `lend` gave to the memory of an array, or something else if it was not lent."""
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        return owner

    def address(self, array: Array) -> int:
        """Where its first element lies."""
        return array.ctypes.data

    def view(self, memory: Array, place: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]) -> Array:
        """An array within `memory`, an array of bytes, whose first element lies at byte `place`."""
        return np.ndarray(shape, dtype, memory, place, strides)

    def inlet(self, array: Array) -> Callable[[Any], bool]:
        """What copies a host array of the same shape and dtype into `array`, any number of times, and says True; of
        anything else it says False. The host array may be changed as soon as that returns."""

        def load(host: Any) -> bool:
            if not fits(host, array):
                return False
            np.copyto(array, host)
            return True

        return load

    def join(self, calls: list[Callable[[], None]]) -> Callable[[], None]:
        """Calls that are repeated in this order, on the same memory and with the same attributes, as one."""

        def run() -> None:
            for call in calls:
                call()

        return run

    def note_draw(self, generator: Any, key: tuple[int, int], count: int) -> tuple[int, int]:
        """`generator` gives out (seed, offset) for `count` random numbers. Only a recorder wants to know."""
        return key

    def bind(self, name: str, arguments: dict[str, Any], constant: frozenset[str]) -> Callable[[], None]:
        """A primitive with all its arguments, ready to be run any number of times.

        Args:
            name: the primitive. arguments: its arguments by name, in its order.
            constant: names of arrays whose contents will not change, so that an engine may pack them once.

        "residual" of conv2d, where `fuses` has it and w and b are constant, is an array like y:
        y = activation(conv(x, w) + b + residual); that of batchnorm likewise, added after beta. "residual" and "gate"
        of conv2d_backward_input are arrays like dx or None: residual is added to dx, which then is 0 where gate, the
        output of a ReLU, is not positive. With "relu_beta", the beta of the forward call or None, dz of
        batchnorm_backward is the gradient after a ReLU. avg_pool2d_backward of windows that tile the image may go on
        through the activation before them: dx is then the gradient before `kind`, whose output was "activated".
        """
        return partial(getattr(self, name), *arguments.values())

    def pools(self, arguments: dict[str, Any], pooled: str) -> bool:
        """Whether conv2d with these arguments, w and b being constant, may be given "pooled", mean or max: y is then
        that of windows of 2x2 of its outputs, half as high and wide. Of arrays it takes shape and dtype."""
        return False

    def images_in_lanes(self, name: str, arguments: dict[str, Any]) -> int:
        """How many images L this call computes on at a time, if it is a convolution whose image arrays may each also be
        given as [N / L, H, W, C, L], which is quicker (see `layout.py`); else 0. Of arrays it takes shape and dtype."""
        return 0

    # ---- linear: GEMM and what is made of it --------------------------------------------------------------------

    @primitive("linear")
    def linear(self, x: Array, w: Array, b: Array | None, y: Array, activation: str) -> None:
        """y = activation(x w + b).

        x `[M, I]`, w `[I, O]`, b `[O]` or None, y `[M, O]`, activation one of FUSED_ACTIVATIONS.
        """

    @primitive("linear")
    def linear_backward_input(self, dz: Array, w: Array, dx: Array) -> None:
        """dx = dz wᵀ. dz `[M, O]` is the gradient before the activation, w `[I, O]`, dx `[M, I]`."""

    @primitive("linear")
    def linear_backward_weight(
        self, x: Array, dz: Array, dw: Array, db: Array | None, accumulate: bool = False
    ) -> None:
        """dw = xᵀ dz, db = column sums of dz. x `[M, I]`, dz `[M, O]`, dw `[I, O]`, db `[O]` or None."""

    @primitive("linear")
    def matmul(self, a: Array, b: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
        """Batched matrix product y[i] = op(a[i]) op(b[i]), op transposing the last two axes if asked.

        a `[B, M, K]` (`[B, K, M]` if transpose_a), b `[B, K, N]` (`[B, N, K]` if transpose_b), y `[B, M, N]`.
        """

    # ---- conv: two-dimensional convolution (cross-correlation) ---------------------------------------------------
    # stride (sh, sw), padding (top, bottom, left, right), dilation (dh, dw). Output channel k belongs to group
    # k // (K / groups) and sees the input channels of that group. groups = C is a depthwise convolution.
    # Output height OH = (H + top + bottom - dh (kh - 1) - 1) // sh + 1, width likewise.

    @primitive("conv")
    def conv2d(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        dilation: tuple[int, int],
        groups: int,
        activation: str,
    ) -> None:
        """y = activation(conv(x, w) + b).

        x `[N, H, W, C]`, w `[kh, kw, C / groups, K]`, b `[K]` or None, y `[N, OH, OW, K]`,
        activation one of FUSED_ACTIVATIONS.
        """

    @primitive("conv")
    def conv2d_backward_input(
        self,
        dz: Array,
        w: Array,
        dx: Array,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        """dx from dz, the gradient before the activation. dz `[N, OH, OW, K]`, dx `[N, H, W, C]`.

        Also the forward of a transposed convolution.
        """

    @primitive("conv")
    def conv2d_backward_weight(
        self,
        x: Array,
        dz: Array,
        dw: Array,
        db: Array | None,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        dilation: tuple[int, int],
        groups: int,
        accumulate: bool = False,
    ) -> None:
        """dw `[kh, kw, C / groups, K]` and db `[K]` from x and dz."""

    # ---- pool ---------------------------------------------------------------------------------------------------
    # size (ph, pw), stride and padding as in conv. Every window covers at least one element of the image.

    @primitive("pool")
    def max_pool2d(
        self,
        x: Array,
        y: Array,
        index: Array | None,
        size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
    ) -> None:
        """Largest element of each window; padding never wins; NaN wins.

        x `[N, H, W, C]`, y `[N, OH, OW, C]`; index, like y, receives the row-major place in the window of the first
        largest element: uint8 where the window has at most 256 places, else int32.
        """

    @primitive("pool")
    def max_pool2d_backward(
        self,
        dy: Array,
        index: Array,
        dx: Array,
        size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
    ) -> None:
        """dx: each dy goes to the element that won its window; overlapping windows add up."""

    @primitive("pool")
    def avg_pool2d(
        self,
        x: Array,
        y: Array,
        size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
    ) -> None:
        """Mean of each window over the elements inside the image (padding does not count)."""

    @primitive("pool")
    def avg_pool2d_backward(
        self,
        dy: Array,
        dx: Array,
        size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
    ) -> None:
        """dx: each dy is shared equally by the elements of its window that lie inside the image."""

    @primitive("pool")
    def global_avg_pool(self, x: Array, y: Array) -> None:
        """y[n, c] = mean of x[n, :, c]. x `[N, S, C]` (S = H·W ≥ 1), y `[N, C]`."""

    @primitive("pool")
    def global_avg_pool_backward(self, dy: Array, dx: Array) -> None:
        """dx `[N, S, C]` from dy `[N, C]`."""

    @primitive("pool")
    def global_max_pool(self, x: Array, y: Array, index: Array | None) -> None:
        """y[n, c] = largest of x[n, :, c], index (int32 `[N, C]`) the first place s that holds it; NaN wins."""

    @primitive("pool")
    def global_max_pool_backward(self, dy: Array, index: Array, dx: Array) -> None:
        """dx `[N, S, C]`: dy at the place that won, zero elsewhere."""

    # ---- norm: rows R are N·H·W for images, features C the last axis --------------------------------------------

    @primitive("norm")
    def batchnorm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        running_mean: Array,
        running_var: Array,
        y: Array,
        mean: Array,
        inv_std: Array,
        momentum: float,
        eps: float,
        activation: str,
    ) -> None:
        """Batch normalisation in training (Ioffe & Szegedy 2015, algorithm 1), per feature over the rows.

        x and y `[R, C]`, all others `[C]`. mean and inv_std = 1/√(var + eps) (biased variance) are outputs for
        the backward; running_mean and running_var are updated: r ← momentum·r + (1 − momentum)·batch statistic.
        The variance must not cancel for |mean| ≫ std. In place allowed (y = x).
        """

    @primitive("norm")
    def batchnorm_inference(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        running_mean: Array,
        running_var: Array,
        y: Array,
        eps: float,
        activation: str,
    ) -> None:
        """y = activation(gamma (x − running_mean) / √(running_var + eps) + beta). In place allowed (y = x)."""

    @primitive("norm")
    def batchnorm_backward(
        self,
        dz: Array,
        x: Array,
        gamma: Array | None,
        mean: Array,
        inv_std: Array,
        dx: Array | None,
        dgamma: Array | None,
        dbeta: Array | None,
        accumulate: bool = False,
    ) -> None:
        """Gradient through the batch statistics; dz comes before the activation. In place allowed (dx = dz)."""

    @primitive("norm")
    def layernorm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        y: Array,
        mean: Array,
        inv_std: Array,
        eps: float,
    ) -> None:
        """Layer normalisation (Ba et al. 2016) per row. x, y `[R, C]`; mean, inv_std `[R]`; gamma, beta `[C]`."""

    @primitive("norm")
    def layernorm_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array | None,
        mean: Array,
        inv_std: Array,
        dx: Array | None,
        dgamma: Array | None,
        dbeta: Array | None,
        accumulate: bool = False,
    ) -> None:
        """dx `[R, C]`, dgamma and dbeta `[C]`."""

    # ---- recurrent: whole sequences; the cell step is the same primitive with T = 1 -------------------------------
    # x [N, T, I], initial states [N, H], kernel w [I, G·H], recurrent kernel u [H, G·H].
    # mask, uint8 [N, T] or None: where it is 0 the step is skipped and the previous state carried over.
    # The backward takes dh [N, T, H], the gradient of every step's output, and gives every gradient that is not None.

    @primitive("recurrent")
    def simple_rnn(
        self,
        x: Array,
        h0: Array,
        w: Array,
        u: Array,
        b: Array | None,
        mask: Array | None,
        h: Array,
        activation: str,
    ) -> None:
        """h[t] = activation(x[t] w + h[t−1] u + b). G = 1, b `[H]`, h `[N, T, H]`; a FUSED_ACTIVATIONS activation."""

    @primitive("recurrent")
    def simple_rnn_backward(
        self,
        dh: Array,
        x: Array,
        h0: Array,
        w: Array,
        u: Array,
        mask: Array | None,
        h: Array,
        dx: Array | None,
        dh0: Array | None,
        dw: Array,
        du: Array,
        db: Array | None,
        activation: str,
        accumulate: bool = False,
    ) -> None:
        """Back-propagation through time for `simple_rnn`."""

    @primitive("recurrent")
    def lstm(
        self,
        x: Array,
        h0: Array,
        c0: Array,
        w: Array,
        u: Array,
        b: Array | None,
        mask: Array | None,
        h: Array,
        c: Array,
        gates: Array | None,
    ) -> None:
        """LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

        z = x[t] w + h[t−1] u + b, split as i, f, g, o (Keras's order i · f · c · o); i, f, o ← sigmoid, g ← tanh;
        c[t] = f c[t−1] + i g; h[t] = o tanh(c[t]).
        G = 4, b `[4H]`; outputs h, c `[N, T, H]` and gates `[N, T, 4H]` (after their activations)
        for the backward, None if there is to be none.
        """

    @primitive("recurrent")
    def lstm_backward(
        self,
        dh: Array,
        dc_last: Array | None,
        x: Array,
        h0: Array,
        c0: Array,
        w: Array,
        u: Array,
        mask: Array | None,
        h: Array,
        c: Array,
        gates: Array,
        dx: Array | None,
        dh0: Array | None,
        dc0: Array | None,
        dw: Array,
        du: Array,
        db: Array | None,
        accumulate: bool = False,
    ) -> None:
        """Back-propagation through time for `lstm`; dc_last `[N, H]` is the gradient of the last cell state."""

    @primitive("recurrent")
    def gru(
        self,
        x: Array,
        h0: Array,
        w: Array,
        u: Array,
        b: Array | None,
        mask: Array | None,
        h: Array,
        gates: Array | None,
        reset_after: bool,
    ) -> None:
        """GRU (Cho et al. 2014), Keras's gate order z · r · h.

        reset_after: b `[2, 3H]` (input row, recurrent row); z, r = sigmoid(x w + b₀ + h u + b₁);
        g = tanh(x w_h + b₀h + r (h u_h + b₁h)). Otherwise b `[3H]` and g = tanh(x w_h + (r h) u_h + b_h).
        h[t] = z h[t−1] + (1 − z) g. G = 3; outputs h `[N, T, H]` and gates `[N, T, 4H]`: z, r, g and
        q = h u_h + b₁h (reset_after) or q = r h[t−1] (not), or None if there is to be no backward.
        """

    @primitive("recurrent")
    def gru_backward(
        self,
        dh: Array,
        x: Array,
        h0: Array,
        w: Array,
        u: Array,
        mask: Array | None,
        h: Array,
        gates: Array,
        dx: Array | None,
        dh0: Array | None,
        dw: Array,
        du: Array,
        db: Array | None,
        reset_after: bool,
        accumulate: bool = False,
    ) -> None:
        """Back-propagation through time for `gru`."""

    # ---- embedding ----------------------------------------------------------------------------------------------

    @primitive("embedding")
    def embedding(self, ids: Array, table: Array, y: Array) -> None:
        """y[m] = table[ids[m]]. ids int32 `[M]`, table `[V, D]`, y `[M, D]`."""

    @primitive("embedding")
    def embedding_backward(self, dy: Array, ids: Array, dtable: Array, accumulate: bool = False) -> None:
        """dtable[ids[m]] += dy[m], repeated ids adding up."""

    # ---- activation ---------------------------------------------------------------------------------------------

    @primitive("activation")
    def activation(self, x: Array, y: Array, kind: str, alpha: float) -> None:
        """y = kind(x), any shape, kind one of ACTIVATIONS. In place allowed (y = x).

        alpha is the slope of leaky_relu and the scale of elu; others ignore it. gelu is the exact one (erf).
        hard_sigmoid = clip(x/6 + 1/2, 0, 1); step = 1 where x > 0, else 0.
        """

    @primitive("activation")
    def activation_backward(self, dy: Array, x: Array | None, y: Array, dx: Array, kind: str, alpha: float) -> None:
        """dx = dy · kind′(x). x may be None for linear, relu, sigmoid, tanh, leaky_relu, elu, selu and exponential,
        whose derivative follows from y. The derivative at a kink is the one of the left side (0 for relu); that of
        step is 0. In place allowed (dx = dy)."""

    @primitive("activation")
    def softmax(self, x: Array, y: Array) -> None:
        """Softmax of each row, shifted by its maximum. x, y `[R, C]`. In place allowed (y = x)."""

    @primitive("activation")
    def softmax_backward(self, dy: Array, y: Array, dx: Array) -> None:
        """dx = y (dy − Σ dy·y). In place allowed (dx = dy)."""

    @primitive("activation")
    def log_softmax(self, x: Array, y: Array) -> None:
        """Logarithm of the softmax of each row. x, y `[R, C]`. In place allowed (y = x)."""

    @primitive("activation")
    def log_softmax_backward(self, dy: Array, y: Array, dx: Array) -> None:
        """dx = dy − exp(y) Σ dy. In place allowed (dx = dy)."""

    # ---- loss: value and gradient in one pass -------------------------------------------------------------------
    # losses[r] = weight[r] · loss of row r; dlogits = scale · weight[r] · its gradient. weight [R] or None (all 1).

    @primitive("loss")
    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
    ) -> None:
        """−log softmax(logits)[label]. logits `[R, C]`, labels int32 `[R]` in 0 … C−1, losses `[R]`."""

    @primitive("loss")
    def softmax_cross_entropy_dense(
        self, logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
    ) -> None:
        """−Σ_c targets·log softmax(logits); targets `[R, C]`, any non-negative rows (one-hot or smoothed)."""

    @primitive("loss")
    def sigmoid_cross_entropy(
        self, logits: Array, targets: Array, weight: Array | None, losses: Array, dlogits: Array | None, scale: float
    ) -> None:
        """Mean over C of max(z, 0) − z·t + log(1 + exp(−|z|)). logits z and targets t `[R, C]`, losses `[R]`."""

    # ---- elementwise --------------------------------------------------------------------------------------------

    @primitive("elementwise")
    def unary(self, x: Array, y: Array, op: str) -> None:
        """y = op(x), any shape, op one of UNARY_OPS. In place allowed (y = x)."""

    @primitive("elementwise")
    def unary_backward(self, dy: Array, x: Array, y: Array, dx: Array, op: str) -> None:
        """dx = dy · op′(x); zero for sign and for abs at 0. In place allowed (dx = dy)."""

    @primitive("elementwise")
    def binary(self, a: Array, b: Array, y: Array, op: str) -> None:
        """y = a op b with NumPy's broadcasting, op one of BINARY_OPS; maximum and minimum pass NaN on.
        y may be a or b where that has y's shape."""

    @primitive("elementwise")
    def compare(self, a: Array, b: Array, y: Array, op: str) -> None:
        """y = a op b as bool, with NumPy's broadcasting, op one of COMPARE_OPS."""

    @primitive("elementwise")
    def select(self, condition: Array, a: Array, b: Array, y: Array) -> None:
        """y = a where condition (bool) else b; all four broadcast to y's shape."""

    @primitive("elementwise")
    def copy(self, x: Array, y: Array) -> None:
        """y ← x, equal shapes, any strides (also negative and, for x, zero), converting between real, integer and bool
        types. With views this is transpose, slice, pad, concatenate, flip, broadcast and the gradients of each."""

    @primitive("elementwise")
    def fill(self, y: Array, value: float) -> None:
        """y ← value, any strides."""

    # ---- reduce -------------------------------------------------------------------------------------------------

    @primitive("reduce")
    def reduce(self, x: Array, y: Array, op: str) -> None:
        """y = op over the middle axis, op one of REDUCE_OPS. x `[A, R, B]`, y `[A, B]`. R = 0 is allowed for sum only.
        Sums must not lose accuracy over long axes (pairwise or blocked); max and min pass NaN on."""

    @primitive("reduce")
    def argmax(self, x: Array, y: Array) -> None:
        """First place of the largest element of each row. x `[R, C]`, y int32 `[R]`."""

    # ---- random: Philox 4x32-10 (Salmon et al. 2011), the same bits on every engine ------------------------------
    # Element i takes word i % 4 of block offset + i // 4. The block counter's low and high 32 bits are the counter's
    # words 0 and 1 (words 2 and 3 are 0), those of seed the key. u = (word >> 8) · 2⁻²⁴ in [0, 1).

    @primitive("random")
    def random_uniform(self, y: Array, low: float, high: float, seed: int, offset: int) -> None:
        """y = low + (high − low) · u, computed in y's dtype."""

    @primitive("random")
    def random_normal(self, y: Array, mean: float, stddev: float, seed: int, offset: int) -> None:
        """Box–Muller on words (0, 1) and (2, 3) of a block: r = √(−2 ln(u₀ + 2⁻²⁴)), even elements r cos 2πu₁, odd ones
        r sin 2πu₁, then mean + stddev · that."""

    @primitive("random")
    def dropout(self, x: Array, y: Array, rate: float, seed: int, offset: int) -> None:
        """y = x / (1 − rate) where word >> 8 ≥ ⌈rate · 2²⁴⌉, else 0; 0 ≤ rate < 1. Its own gradient: call it on dy with
        the same seed and offset. In place allowed (y = x)."""

    # ---- optim: one update of a flat parameter buffer; p and the states change in place, g does not ---------------

    @primitive("optim")
    def sgd(self, p: Array, g: Array, lr: float) -> None:
        """p ← p − lr·g."""

    @primitive("optim")
    def momentum(self, p: Array, g: Array, m: Array, lr: float, momentum: float, form: str) -> None:
        """form "classical" (Polyak 1964): m ← momentum·m − lr·g, p ← p + m; "nesterov" (Sutskever et al. 2013): the
        same m, p ← p + momentum·m − lr·g; "averaged": m ← momentum·m + (1 − momentum)·g, p ← p − lr·m."""

    @primitive("optim")
    def adagrad(self, p: Array, g: Array, s: Array, lr: float, eps: float) -> None:
        """s ← s + g², p ← p − lr·g/√(s + eps) (Duchi et al. 2011)."""

    @primitive("optim")
    def rmsprop(
        self,
        p: Array,
        g: Array,
        s: Array,
        m: Array | None,
        gbar: Array | None,
        lr: float,
        rho: float,
        momentum: float,
        eps: float,
    ) -> None:
        """s ← rho·s + (1 − rho)·g²; centered where gbar is given: gbar ← rho·gbar + (1 − rho)·g and d = s − gbar², else
        d = s; step = lr·g/√(d + eps); with momentum > 0 (m given): m ← momentum·m + step, p ← p − m; else p ← p − step
        (Tieleman & Hinton 2012, as in Keras)."""

    @primitive("optim")
    def adam(
        self,
        p: Array,
        g: Array,
        m: Array,
        v: Array,
        vhat: Array | None,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        step: int,
    ) -> None:
        """Adam (Kingma & Ba 2015, section 2's efficient form, as in Keras), AMSGrad where vhat is given, decoupled
        weight decay (AdamW, Loshchilov & Hutter 2019) where weight_decay > 0. step counts from 1.

        p ← p − lr·weight_decay·p; m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²; vhat ← max(vhat, v);
        p ← p − lr·√(1 − beta2^step)/(1 − beta1^step) · m/(√(vhat or v) + eps).
        """


def signature(name: str) -> inspect.Signature:
    """The parameters every kernel of primitive `name` has, without self."""
    full = inspect.signature(getattr(Backend, name))
    return full.replace(
        parameters=[
            p.replace(annotation=inspect.Parameter.empty) for p in full.parameters.values() if p.name != "self"
        ],
        return_annotation=inspect.Signature.empty,
    )


def _find_kernel(package: str, family: str, name: str) -> Callable[..., None] | None:
    try:
        module = import_module(f"{package}.{family}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith(package):
            return None
        raise
    return getattr(module, name, None)
