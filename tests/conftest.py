"""What the tests share: the engines, and what to do where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dlcore.backends import registry
from dlcore.backends.interface import Backend

sys.path.insert(0, str(Path(__file__).parent))  # `import conformance`, from here and from plug-ins' tests alike

BACKENDS = ("numpy", "numba", "cython", "cupy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="fail, rather than skip, where this engine is unavailable (repeatable)",
    )


def backend_or_skip(name: str, config: pytest.Config) -> Backend:
    """The engine called `name`; skips with its reason where it cannot run, or fails if it is required."""
    reason = registry.backend_status()[name]
    if reason is None:
        return registry.get_backend(name)
    if name in config.getoption("--require-backend"):
        pytest.fail(f"backend {name!r} is required but unavailable: {reason}", pytrace=False)
    pytest.skip(f"backend {name!r} is unavailable: {reason}")


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.gpu) if n == "cupy" else n for n in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each engine in turn. Nothing is made active: use `active_backend` for that."""
    return backend_or_skip(request.param, request.config)


@pytest.fixture
def active_backend(backend: Backend):
    """Each engine in turn, active while the test runs."""
    with registry.use_backend(backend.name):
        yield backend


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """DLCORE_STRICT=1: engines with fallbacks refuse to become active."""
    monkeypatch.setenv("DLCORE_STRICT", "1")
