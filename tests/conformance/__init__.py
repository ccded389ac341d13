"""The conformance table: what any backend must compute, as data.

`CASES` holds one entry per situation that a primitive must handle; `check(backend, case)` runs one on a backend and
raises AssertionError with the primitive, the case and what went wrong. An engine of your own is tested by

    for case in CASES:
        check(MyBackend(), case)

What is checked, in float32 and float64, with arrays aligned to 64 bytes and again one element off:

* Real outputs lie within the case's tolerance of the reference kernel run in float64 on the same (rounded) inputs. The
  error is relative to the largest magnitude in that output (not element by element: sums cancel), or to the case's
  `floor` where that is larger. Infinities and NaNs must stand where the reference has them.
* Integer and bool outputs, dropout masks and uniform random bits are equal to the last bit.
* Every element of an output is written: outputs hold NaN (or a sentinel) before the call.
* Inputs keep their bits, and so does the memory in front of and behind every array, which holds NaN so that a value
  read from there shows too.

Each family of primitives has its cases in a file of its own, named as its kernels' are.
"""

from . import activation, conv, copy, elementwise, embedding, linear, loss, norm, optim, pool, random, recurrent, reduce
from .runner import check, outputs
from .table import CASES, Case, InOut, Out, View

__all__ = ["CASES", "Case", "InOut", "Out", "View", "check", "outputs"]

for _family in (
    linear, conv, pool, norm, recurrent, embedding, activation, loss, elementwise, copy, reduce, random, optim,
):  # fmt: skip
    _family.add_cases()
