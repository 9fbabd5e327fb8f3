"""Pieces of work in processes of their own, a few at once, each with a limit of time and of memory.

Contract: the process that asks has imported what the work needs, computes nothing and has no threads, so that a fork is
cheap and safe. What a piece of work says comes as it is said, and its time begins anew with each word: one that hangs,
dies or eats memory loses only what it had not said. Processes that it started end with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

GIB = 1 << 30
Say = Callable[[Any], None]


@dataclass(frozen=True)
class Limits:
    """For each process: seconds between two words of it, and GiB of memory that it may ask the system for."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Said:
    """A word of the piece of work with that index."""

    index: int
    word: Any


@dataclass(frozen=True)
class Ended:
    """A piece of work is over; fault: why it did not end by itself."""

    index: int
    fault: str | None = None


@dataclass
class _Running:
    index: int
    process: Any
    log: Path
    heard: float  # when it last said something


def run_each(
    work: Sequence[Callable[[Say], None]], logs: Sequence[Path], *, jobs: int, limits: Limits
) -> Iterator[Said | Ended]:
    """Run every piece of work, at most `jobs` at once; `logs` take what they print. Leaves no process behind."""
    waiting = list(range(len(work)))
    running: dict[Connection, _Running] = {}
    _open_standard_streams()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index = waiting.pop(0)
                receiver, process = _start(work[index], logs[index], limits, tuple(running))
                running[receiver] = _Running(index, process, logs[index], time.monotonic())
            ready = wait(list(running), timeout=0.5)
            for receiver, one in list(running.items()):
                told = _hear(receiver, one, limits) if receiver in ready else _late(one, limits)
                if isinstance(told, Ended):
                    del running[receiver]
                    _end(receiver, one)
                if told is not None:
                    yield told
    finally:
        for receiver, one in running.items():
            _end(receiver, one)


def _open_standard_streams() -> None:
    """Where one is closed, a pipe would get its number, and lose it to the log."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _start(
    piece: Callable[[Say], None], log: Path, limits: Limits, others: tuple[Connection, ...]
) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(piece, sender, log, limits, (receiver, *others)), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _child(
    piece: Callable[[Say], None], sender: Connection, log: Path, limits: Limits, inherited: tuple[Connection, ...]
) -> None:
    os.setpgid(0, 0)  # what it starts can be ended with it; an interrupt at the terminal is the parent's affair
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for connection in inherited:
        connection.close()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1, errors="replace")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = int(limits.memory * GIB) if hard == resource.RLIM_INFINITY else min(int(limits.memory * GIB), hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    piece(sender.send)
    sender.send(None)
    sender.close()
    os._exit(0)  # libraries have nothing to tidy up here, and some take long over it


def _hear(receiver: Connection, one: _Running, limits: Limits) -> Said | Ended | None:
    try:
        word = receiver.recv()
    except (EOFError, OSError):
        one.process.join(1)
        return Ended(one.index, _death(one, limits))
    one.heard = time.monotonic()
    return Said(one.index, word) if word is not None else Ended(one.index)


def _late(one: _Running, limits: Limits) -> Ended | None:
    late = time.monotonic() - one.heard > limits.seconds
    return Ended(one.index, f"no answer in {limits.seconds:g} s") if late else None


def _death(one: _Running, limits: Limits) -> str:
    code = one.process.exitcode
    how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with code {code}"
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in one.log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f"the process died {how}: {lines[-1][:200]}"
    return f"the process died {how}"


def _end(receiver: Connection, one: _Running) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(one.process.pid, signal.SIGKILL)
    one.process.kill()  # should it not have a group of its own yet
    one.process.join()
    receiver.close()
