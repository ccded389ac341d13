"""Scalar functions that LLVM can vectorise when a kernel's loop calls them.

Plain version: `math.exp` and its like, one library call per element, which keeps the whole loop scalar (Numba
vectorises them only with Intel's SVML, which few installations have). In float32 the functions here are branch-free
polynomials after argument reduction, with the coefficients of Moshier's Cephes and, for erf, of Eigen; the
errors are at most those of docs/accuracy.md, NaN stays NaN and infinities come out right. In float64, which is for
checking, they are the library's. They are compiled without reassociation, which would cancel the rounding tricks.
"""

# An intrinsic is called without its first parameter, the typing context.
# mypy: disable-error-code="call-arg,var-annotated"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload, register_jitable

_OPTIONS: Any = {"fastmath": {"contract"}, "forceinline": True, "error_model": "numpy"}

_f = np.float32
_ROUND = _f(12582912.0)  # 1.5 · 2²³: adding it leaves the nearest integer in the low bits
_ROUND_BITS = np.int32(0x4B400000)
_ROUND_BIASED = _f(12582912.0 + 2 * 127)
_ROUND_RAISED = _f(12582912.0 + 127 + 32)
_LOG2_E = _f(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)
FAR = _f(8192.0)  # from there on, the reduction of a sine's argument needs more digits


@intrinsic
def _bits(context, x):
    """The bit pattern of a float as an integer of the same width."""
    to = types.int32 if x == types.float32 else types.int64
    return to(x), lambda c, builder, signature, args: builder.bitcast(args[0], c.get_value_type(to))


@intrinsic
def _from_bits(context, k):
    """The float with the bit pattern of an int32 or int64."""
    to = types.float32 if k == types.int32 else types.float64
    return to(k), lambda c, builder, signature, args: builder.bitcast(args[0], c.get_value_type(to))


@register_jitable(**_OPTIONS)
def _powers(t):
    """2ⁿ in two factors, for t = n + _ROUND_BIASED, so that results overflow and underflow gradually as they should."""
    # The low bits of t are n and both biases: half of them, rounded down, is the exponent of one, the rest the other's.
    low = np.int32(np.int32(_bits(t) << np.int32(22)) & np.int32(-0x800000))
    high = np.int32(np.int32(_bits(t) << np.int32(23)) - low)
    return _from_bits(low), _from_bits(high)


@register_jitable(**_OPTIONS)
def _reduce(x, rounding):
    """x = n · ln 2 + r with |r| < 0.35: n + rounding, which holds n in its low bits, and r."""
    t = x * _LOG2_E + rounding
    n = t - rounding
    r = x - n * _LN2_HIGH
    return t, r - n * _LN2_LOW


@register_jitable(**_OPTIONS)
def _exp_series(r):
    """eʳ for |r| < 0.35, fitted to 3e-9."""
    p = _f(1.3820944587e-3) * r + _f(8.3686839789e-3)
    p = p * r + _f(4.1668266058e-2)
    p = p * r + _f(1.6666521132e-1)
    p = p * r + _f(4.9999994040e-1)
    return (p * r + _f(1.0)) * r + _f(1.0)


def exp(x):
    """eˣ."""


@overload(exp, jit_options=_OPTIONS)
def _exp(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def exp32(x):
        x = _f(105.0) if x > _f(105.0) else x
        x = _f(-105.0) if x < _f(-105.0) else x
        t, r = _reduce(x, _ROUND_BIASED)
        low, high = _powers(t)
        return _exp_series(r) * low * high

    return exp32


def expm1_negative(x):
    """eˣ − 1 for x ≤ 0; any other x gives a finite number or NaN of no use."""


@overload(expm1_negative, jit_options=_OPTIONS)
def _expm1_negative(x):
    if x != types.float32:
        return lambda x: math.expm1(x) if not x > 0.0 else 0.0

    def expm1_negative32(x):
        x = _f(0.0) if x > _f(0.0) else x
        x = _f(-60.0) if x < _f(-60.0) else x
        t, r = _reduce(x, _ROUND)
        p = _f(1.9875691500e-4) * r + _f(1.3981999507e-3)
        p = p * r + _f(8.3334519073e-3)
        p = p * r + _f(4.1665795894e-2)
        p = p * r + _f(1.6666665459e-1)
        p = p * r + _f(5.0000001201e-1)
        p = p * (r * r) + r
        k = np.int32(_bits(t) - _ROUND_BITS)
        s = _from_bits(np.int32(np.int32(k + np.int32(127)) << np.int32(23)))
        return p * s + (s - _f(1.0))

    return expm1_negative32


@register_jitable(**_OPTIONS)
def _log_series(f):
    """(log(1 + f) − f + f² / 2) / f³ for 1 + f between √½ and √2, in float32."""
    p = _f(7.0376836292e-2) * f + _f(-1.1514610310e-1)
    p = p * f + _f(1.1676998740e-1)
    p = p * f + _f(-1.2420140846e-1)
    p = p * f + _f(1.4249322787e-1)
    p = p * f + _f(-1.6668057665e-1)
    p = p * f + _f(2.0000714765e-1)
    p = p * f + _f(-2.4999993993e-1)
    return p * f + _f(3.3333331174e-1)


def log(x):
    """Natural logarithm; −∞ at 0, NaN below."""


@overload(log, jit_options=_OPTIONS)
def _log(x):
    if x != types.float32:
        return lambda x: np.log(x)

    def log32(x):
        tiny = x < _f(1.17549435e-38)
        scaled = x * _f(8388608.0) if tiny else x
        t = np.int32(_bits(scaled) - np.int32(0x3F3504F3))
        e = _f(np.int32(t >> np.int32(23)))
        e = e - _f(23.0) if tiny else e
        f = _from_bits(np.int32(np.int32(t & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3))) - _f(1.0)
        z = f * f
        p = _log_series(f) * f * z
        p = p + e * _f(-2.12194440e-4)
        p = p - z * _f(0.5)
        value = (f + p) + e * _f(0.693359375)
        value = x if x == _f(np.inf) else value
        value = _f(-np.inf) if x == _f(0.0) else value
        return value if x >= _f(0.0) else _f(np.nan)

    return log32


def log1p(x):
    """log(1 + x) for 0 ≤ x ≤ 1."""


@overload(log1p, jit_options=_OPTIONS)
def _log1p(x):
    if x != types.float32:
        return lambda x: math.log1p(x)

    def log1p32(x):
        # Above √2 − 1 as log 2 + log(1 + (x − 1) / 2), so that what the polynomial is given stays small.
        large = x > _f(0.41421356)
        f = (x - _f(1.0)) * _f(0.5) if large else x
        value = f + (_log_series(f) * f - _f(0.5)) * (f * f)
        return value + _f(0.693147181) if large else value

    return log1p32


def tanh(x):
    """Hyperbolic tangent."""


@overload(tanh, jit_options=_OPTIONS)
def _tanh(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    def tanh32(x):
        # h / (h + 1) of h = (e²ᵛ − 1) / 2, which loses no digits where v is small.
        v = abs(x)
        v = _f(15.0) if v > _f(15.0) else v
        t = v * _f(2.88539008) + _ROUND
        n = t - _ROUND
        r = v - n * _f(0.346573590)
        p = _f(64 * 1.3820944587e-3) * r + _f(32 * 8.3686839789e-3)
        p = p * r + _f(16 * 4.1668266058e-2)
        p = p * r + _f(8 * 1.6666521132e-1)
        p = p * r + _f(4 * 4.9999994040e-1)
        # 2ⁿ / 2: n stands in the last bits of t.
        s = _from_bits(np.int32(np.int32(_bits(t) << np.int32(23)) + np.int32(0x3F000000)))
        h = s * (p * (r * r) + (r + r)) + (s - _f(0.5))
        return math.copysign(h / (h + _f(1.0)), x)

    return tanh32


def sigmoid(x):
    """1 / (1 + e⁻ˣ)."""


@overload(sigmoid, jit_options=_OPTIONS)
def _sigmoid(x):
    if x != types.float32:
        return lambda x: 1.0 / (1.0 + math.exp(-x))

    def sigmoid32(x):
        # eˣ / (1 + eˣ), which is 1 from 18 on.
        x = _f(20.0) if x > _f(20.0) else x
        x = _f(-105.0) if x < _f(-105.0) else x
        t, r = _reduce(x, _ROUND_RAISED)
        # The last bits of t are the exponent of 2ⁿ · 2³², for every n a number that is not subnormal.
        e = _exp_series(r) * _from_bits(np.int32(_bits(t) << np.int32(23))) * _f(2.0**-32)
        return e / (_f(1.0) + e)

    return sigmoid32


def erf(x):
    """Error function."""


@overload(erf, jit_options=_OPTIONS)
def _erf(x):
    if x != types.float32:
        return lambda x: math.erf(x)

    def erf32(x):
        x = _f(4.0) if x > _f(4.0) else x
        x = _f(-4.0) if x < _f(-4.0) else x
        z = x * x
        p = _f(-2.72614225801306e-10) * z + _f(2.77068142495902e-08)
        p = p * z + _f(-2.10102402082508e-06)
        p = p * z + _f(-5.69250639462346e-05)
        p = p * z + _f(-7.34990630326855e-04)
        p = p * z + _f(-2.95459980854025e-03)
        p = p * z + _f(-1.60960333262415e-02)
        q = _f(-1.45660718464996e-05) * z + _f(-2.13374055278905e-04)
        q = q * z + _f(-1.68282697438203e-03)
        q = q * z + _f(-7.37332916720468e-03)
        q = q * z + _f(-1.42647390514189e-02)
        return x * p / q

    return erf32


def gelu_slope(x):
    """Derivative of x Φ(x), Φ(x) + x e^(−x²/2) / √(2π)."""


@overload(gelu_slope, jit_options=_OPTIONS)
def _gelu_slope(x):
    if x != types.float32:
        root, density = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
        return lambda x: 0.5 * math.erfc(-x * root) + x * density * math.exp(-0.5 * x * x)

    def gelu_slope32(x):
        # The tail 1 − Φ(a) at a = |x| is e^(−a²/2) p / q, a quotient fitted to 2e-8 up to 14.5, beyond which nothing of
        # it is left in float32. What a² rounds off would be multiplied by a² in the exponential, hence its two parts.
        a = abs(x)
        a = _f(14.5) if a > _f(14.5) else a
        whole = _from_bits(np.int32(_bits(a) & np.int32(-0x1000)))
        square = whole * whole
        t = square * _f(-0.721347520) + _ROUND_BIASED
        n = t - _ROUND_BIASED
        r = square + n * _f(1.38671875)  # a² = r − n ln 4
        r = r - n * _f(4.24388880e-4)
        r = r + (a - whole) * (a + whole)
        e = _f(1.3820944587e-3 / 64) * r - _f(8.3686839789e-3 / 32)
        e = e * r + _f(4.1668266058e-2 / 16)
        e = e * r - _f(1.6666521132e-1 / 8)
        e = e * r + _f(4.9999994040e-1 / 4)
        e = e * r - _f(0.5)
        e = e * r + _f(1.0)
        p = _f(4.116308410e-3) * a + _f(4.063321650e-2)
        p = p * a + _f(1.832351089e-1)
        p = p * a + _f(4.382948875e-1)
        p = p * a + _f(0.5)
        q = _f(1.031793561e-2) * a + _f(1.018588170e-1)
        q = q * a + _f(4.694705307e-1)
        q = q * a + _f(1.202502966e0)
        q = q * a + _f(1.674474716e0)
        q = q * a + _f(1.0)
        low, high = _powers(t)
        below = e * (p / q - _f(0.398942280) * a) * low * high
        return below if x < _f(0.0) else _f(1.0) - below

    return gelu_slope32


def sin(x):
    """Sine; in float32 for |x| < FAR."""


def cos(x):
    """Cosine; in float32 for |x| < FAR."""


def quarter_wave(r, quadrant):
    """sin(r + quadrant · π/2) for |r| ≤ π/4 and an integer quadrant."""


@overload(quarter_wave, jit_options=_OPTIONS)
def _quarter_wave(r, quadrant):
    if r != types.float32:

        def quarter_wave64(r, quadrant):
            value = math.cos(r) if quadrant & 1 else math.sin(r)
            return -value if quadrant & 2 else value

        return quarter_wave64

    def quarter_wave32(r, quadrant):
        z = r * r
        s = _f(-1.9515295891e-4) * z + _f(8.3321608736e-3)
        s = s * z + _f(-1.6666654611e-1)
        s = s * z * r + r
        c = _f(2.443315711809948e-5) * z + _f(-1.388731625493765e-3)
        c = c * z + _f(4.166664568298827e-2)
        c = c * (z * z) - _f(0.5) * z + _f(1.0)
        value = c if quadrant & 1 else s
        return -value if quadrant & 2 else value

    return quarter_wave32


@register_jitable(**_OPTIONS)
def _sine_from(x, quarter):
    """sin(x + quarter · π/2)."""
    t = x * _f(0.636619772) + _ROUND
    n = t - _ROUND
    r = x - n * _f(1.5703125)
    r = r - n * _f(4.837512969970703125e-4)
    r = r - n * _f(7.549533620476723e-8)
    r = r - n * _f(2.5633440682570896e-12)
    return quarter_wave(r, np.int32(_bits(t) + quarter))


@overload(sin, jit_options=_OPTIONS)
def _sin(x):
    if x != types.float32:
        return lambda x: math.sin(x)
    return lambda x: _sine_from(x, np.int32(0))


@overload(cos, jit_options=_OPTIONS)
def _cos(x):
    if x != types.float32:
        return lambda x: math.cos(x)
    return lambda x: _sine_from(x, np.int32(1))
