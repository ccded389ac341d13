"""The device layer: who runs a primitive, and where memory lives."""

from .interface import Backend, BackendUnavailableError
from .registry import available_backends, backend_status, coverage, current, get_backend, use_backend

__all__ = [
    "Backend",
    "BackendUnavailableError",
    "available_backends",
    "backend_status",
    "coverage",
    "current",
    "get_backend",
    "use_backend",
]
