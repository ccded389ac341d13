"""What the benchmarks share: one engine at a time, in strict mode."""

from __future__ import annotations

import os

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
