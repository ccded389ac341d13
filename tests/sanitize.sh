#!/bin/sh
# The conformance table on every build of the native engine that runs here, under AddressSanitizer and UBSan: a build of
# its own in build/sanitize, arrays and scratch in allocations of exactly their size, so that any access outside is seen.
set -eu
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
out=$PWD/build/sanitize

DLCORE_SANITIZE=1 "$python" setup.py --quiet build --build-base "$out" --build-lib "$out/lib"

export PYTHONPATH="$out/lib:$PWD/tests" PYTHONSAFEPATH=1 PYTHONMALLOC=malloc
export LD_PRELOAD="$(${CC:-gcc} -print-file-name=libasan.so) $(${CC:-gcc} -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for isa in $("$python" -c "from dlcore.kernels.native import core; print(*core.runnable_isas())"); do
    for threads in 1 2; do
        echo "conformance table, $isa, threads: $threads"
        DLCORE_ISA=$isa DLCORE_NUM_THREADS=$threads "$python" -m conformance --exact cython
    done
done
echo "no access outside an array, no undefined behaviour"
