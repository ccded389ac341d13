"""The driver's side of a contender's process: it starts, asks and stops the worker."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

LONGEST = 300  # seconds that a contender may take for an answer


class ContenderError(Exception):
    """A contender's process ended, gave no answer, or answered with an error."""


class Process:
    """A contender's worker, which runs only while it is asked something."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        self._start()

    def _start(self) -> None:
        counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DLCORE_NUM_THREADS", "NPROC")
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "contenders.worker", self.name, str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **dict.fromkeys(counts, str(self.threads)), **quiet},
        )
        try:
            self.about = self._answer()
        except ContenderError:
            self.close()
            raise

    def ask(self, **command: Any) -> dict[str, Any]:
        """The worker's answer. After a failure of its process there is a new one, which has forgotten its case."""
        pipe = self._process.stdin
        assert pipe is not None
        self._process.send_signal(signal.SIGCONT)
        try:
            pipe.write(json.dumps(command).encode() + b"\n")
            pipe.flush()
            answer = self._answer()
        except (ContenderError, BrokenPipeError) as error:
            self.close()
            self._start()
            raise ContenderError(str(error)) from None
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def _answer(self) -> dict[str, Any]:
        pipe = self._process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], LONGEST)
        line = pipe.readline() if ready else b""
        if not line:
            raise ContenderError(f"ended with status {self._process.wait()}" if ready else f"no answer in {LONGEST} s")
        self._process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def time_of_others(self) -> float:
        """Seconds of processor time that everything but this process has used so far, by Linux's count; else 0."""
        try:
            system = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
            own = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        user, nice, kernel, _idle, _waiting, *rest = map(int, system)
        return (user + nice + kernel + sum(rest) - int(own[11]) - int(own[12])) / os.sysconf("SC_CLK_TCK")
