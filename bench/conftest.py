"""What the benchmarks share: one engine at a time, in strict mode."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from dlcore.backends import BackendUnavailableError, backend_status, get_backend

os.environ["DLCORE_STRICT"] = "1"

ENGINES = list(backend_status())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", ENGINES, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest):
    """An engine that runs here; others skip, saying why."""
    try:
        return get_backend(request.param)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def measure(benchmark: Any) -> Callable[[Callable[[], Any]], None]:
    """Times a call, after a pause: the threads of the BLAS that the check before has woken spin on for a tenth of a
    second, and until they sleep they cost any other engine half of its speed."""

    def run(call: Callable[[], Any]) -> None:
        time.sleep(0.3)
        benchmark(call)

    return run
