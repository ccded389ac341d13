"""Choosing an engine: by name, environment, call, block, preference list and plug-in; and what is said in failure."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from importlib.metadata import EntryPoint

import pytest

from dlcore import backends
from dlcore.backends import registry
from dlcore.backends.interface import PRIMITIVES, Backend, BackendUnavailableError
from dlcore.backends.settings import SettingError


class Plain(Backend):
    """The reference kernels under another name."""

    name = "plain"
    kernels = "dlcore.kernels.reference"
    threads = 0

    def set_num_threads(self, count: int) -> None:
        self.threads = count


class Other(Plain):
    name = "other"


class Bare(Plain):
    """No kernel of its own at all."""

    name = "bare"
    kernels = "dlcore.kernels.no_such_engine"


class OnDevice(Plain):
    name = "ondevice"

    def __init__(self, device: int = 0) -> None:
        super().__init__()
        self.device = device


class Absent(Plain):
    name = "absent"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return "the moon is not full: wait for it"


class Fragile(Plain):
    name = "fragile"

    def __init__(self) -> None:
        raise OSError("out of\nluck")


class Rude(Plain):
    name = "rude"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        raise RuntimeError("who is asking?")


NOT_AN_ENGINE = object()


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch):
    """A registry in which nothing was chosen yet, with the plug-ins above."""
    for name in ("DLCORE_BACKEND", "DLCORE_STRICT", "DLCORE_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    plug_ins = {engine.name: engine for engine in (Plain, Other, Bare, OnDevice, Absent, Fragile, Rude)}
    plug_ins["odd"] = NOT_AN_ENGINE
    entries = {name: _Entry(name, value) for name, value in plug_ins.items()}
    entries["broken"] = EntryPoint("broken", "no_such_package_anywhere:Engine", "dlcore.backends")
    monkeypatch.setattr(registry, "_entry_points", lambda: entries)
    monkeypatch.setattr(registry, "_instances", {})
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.setattr(registry, "_setter", None)
    token = registry._override.set(None)
    yield
    registry._override.reset(token)


class _Entry:
    def __init__(self, name, value):
        self.name, self.value = name, value

    def load(self):
        return self.value


def test_numpy_is_always_available():
    assert "numpy" in backends.available_backends()
    assert backends.get_backend("numpy").name == "numpy"


def test_get_backend_makes_an_engine_once():
    assert backends.get_backend("plain") is backends.get_backend("plain")
    assert backends.get_backend("plain") is not backends.get_backend("other")


def test_call_sets_the_default_for_every_thread():
    backends.use_backend("plain")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(backends.current().name))
    thread.start()
    thread.join()
    assert backends.current().name == "plain"
    assert seen == ["plain"]


def test_block_restores_what_was_before():
    backends.use_backend("plain")
    with backends.use_backend("other") as engine:
        assert engine is backends.current()
        assert engine.name == "other"
        with backends.use_backend("numpy"):
            assert backends.current().name == "numpy"
        assert backends.current().name == "other"
    assert backends.current().name == "plain"


def test_block_restores_after_an_exception():
    backends.use_backend("plain")
    with pytest.raises(KeyError), backends.use_backend("other"):
        raise KeyError
    assert backends.current().name == "plain"


def test_block_leaves_an_unresolved_default_unresolved(monkeypatch):
    with backends.use_backend("other"):
        pass
    monkeypatch.setenv("DLCORE_BACKEND", "plain")
    assert backends.current().name == "plain"


def test_block_does_not_reach_other_threads():
    backends.use_backend("plain")
    seen = []
    with backends.use_backend("other"):
        thread = threading.Thread(target=lambda: seen.append(backends.current().name))
        thread.start()
        thread.join()
    assert seen == ["plain"]


def test_call_inside_a_block_holds_until_the_block_ends():
    backends.use_backend("plain")
    with backends.use_backend("other"):
        backends.use_backend("numpy")
        assert backends.current().name == "numpy"
    assert backends.current().name == "plain"


def test_the_object_can_be_entered_again():
    backends.use_backend("plain")
    choice = backends.use_backend("other")
    for _ in range(2):
        with choice:
            with choice:
                assert backends.current().name == "other"
            assert backends.current().name == "other"
        assert backends.current().name == "plain"


def test_overlapping_blocks_of_two_threads_leave_the_default_alone():
    backends.use_backend("plain")
    first, second = backends.use_backend("other"), backends.use_backend("numpy")
    with first:
        pass
    with second:
        pass
    assert backends.current().name == "plain"


def test_use_backend_takes_an_engine_itself():
    engine = backends.get_backend("plain")
    with backends.use_backend(engine):
        assert backends.current() is engine


def test_environment_names_the_engine(monkeypatch):
    monkeypatch.setenv("DLCORE_BACKEND", "other")
    assert backends.current().name == "other"


def test_first_usable_of_a_list_wins(monkeypatch):
    monkeypatch.setenv("DLCORE_BACKEND", "absent, broken, nosuch, other, plain")
    assert backends.current().name == "other"


def test_list_of_which_none_works_says_why_for_each(monkeypatch):
    monkeypatch.setenv("DLCORE_BACKEND", "absent,broken,fragile")
    with pytest.raises(BackendUnavailableError, match="DLCORE_BACKEND=absent,broken,fragile") as caught:
        backends.current()
    for words in ("the moon is not full", "no_such_package_anywhere", "OSError: out of luck"):
        assert words in str(caught.value)


def test_environment_naming_nothing_known_says_where_it_came_from(monkeypatch):
    monkeypatch.setenv("DLCORE_BACKEND", "nmpy")
    with pytest.raises(ValueError, match=r"DLCORE_BACKEND=nmpy: unknown engine 'nmpy'. Did you mean 'numpy'\?"):
        backends.current()


def test_unset_means_the_best_that_works_quietly():
    available = backends.available_backends()
    assert backends.current().name == next(n for n in ("cupy", "cython", "numba", "numpy") if n in available)


def test_unavailable_engine_says_why_and_what_there_is():
    with pytest.raises(BackendUnavailableError, match="'absent' is not available: the moon is not full") as caught:
        backends.use_backend("absent")
    assert "Available here:" in str(caught.value)
    assert "plain" in str(caught.value)


@pytest.mark.parametrize("name", ["", " , ", ":1"])
def test_empty_names(name):
    with pytest.raises(ValueError, match="engine"):
        backends.use_backend(name)


def test_a_name_of_the_wrong_type():
    with pytest.raises(TypeError, match="got int"):
        backends.use_backend(3)


def test_device_suffix():
    assert backends.get_backend("ondevice:3").device == 3
    assert backends.get_backend("ondevice").device == 0
    with pytest.raises(ValueError, match="has no devices"):
        backends.get_backend("plain:1")
    with pytest.raises(ValueError, match="must be a number"):
        backends.get_backend("ondevice:one")


def test_broken_plug_ins_disturb_nobody():
    status = backends.backend_status()
    assert "no_such_package_anywhere" in status["broken"]
    assert "who is asking?" in status["rude"]
    assert "subclass" in status["odd"]
    assert status["plain"] is None
    assert status["numpy"] is None


def test_installed_plug_in_is_found(tmp_path):
    """As another distribution would bring it: a package, and an entry point in its metadata."""
    (tmp_path / "my_engine").mkdir()
    (tmp_path / "my_engine" / "__init__.py").write_text(
        "from dlcore.backends import Backend\n"
        "class MyBackend(Backend):\n"
        "    name = 'mine'\n"
        "    kernels = 'my_engine.kernels'\n"
    )
    metadata = tmp_path / "my_engine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[dlcore.backends]\nmine = my_engine:MyBackend\n")
    code = f"""
import sys
sys.path.append({str(tmp_path)!r})
import dlcore
engine = dlcore.backends.current()
print(engine.name, len(engine.fallbacks), "mine" in dlcore.available_backends())
"""
    environment = {**os.environ, "DLCORE_BACKEND": "mine", "DLCORE_STRICT": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert run.stdout.split() == ["mine", str(len(PRIMITIVES)), "True"], run.stderr


def test_engine_that_fails_to_start():
    with pytest.raises(BackendUnavailableError, match="could not be started: OSError: out of luck"):
        backends.get_backend("fragile")


def test_strict_refuses_fallbacks(monkeypatch):
    backends.use_backend("bare")
    monkeypatch.setenv("DLCORE_STRICT", "1")
    with pytest.raises(BackendUnavailableError, match="DLCORE_STRICT") as caught:
        backends.use_backend("bare")
    assert all(name in str(caught.value) for name in PRIMITIVES)
    backends.use_backend("plain")


def test_coverage_names_every_primitive_and_engine():
    table = backends.coverage()
    assert set(table) == set(PRIMITIVES)
    row = table["linear"]
    assert row["numpy"] == "native"
    assert row["bare"] == "fallback"
    assert row["absent"] == row["fragile"] == "—"


def test_threads_are_set_from_the_environment(monkeypatch):
    monkeypatch.setenv("DLCORE_NUM_THREADS", "3")
    assert backends.get_backend("plain").threads == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_bad_thread_counts(monkeypatch, text):
    monkeypatch.setenv("DLCORE_NUM_THREADS", text)
    with pytest.raises(SettingError, match="DLCORE_NUM_THREADS must be a positive whole number"):
        backends.get_backend("plain")


def test_cupy_answers_why_it_is_not_there():
    reason = backends.backend_status()["cupy"]
    if reason is None:
        pytest.skip("cupy works here")
    with pytest.raises(BackendUnavailableError, match="'cupy' is not available"):
        backends.use_backend("cupy")


def test_current_costs_little():
    backends.use_backend("plain")
    start = time.perf_counter()
    for _ in range(100_000):
        backends.current()
    assert time.perf_counter() - start < 0.2  # 2 µs a call: generous for a busy machine, far below any search
