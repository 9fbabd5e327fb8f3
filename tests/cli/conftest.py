"""The command as a user calls it: a process, or the same entry point in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import porter.cli

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def porter_here(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command in this process: quick."""

    def run(*words: object) -> Done:
        code = porter.cli.exit_code([str(word) for word in words])
        return Done(code, *capfd.readouterr())

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def porter_process(environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Runs a command as a process of its own, in an empty folder."""

    def run(*words: object, python: tuple[str, ...] = ("-m", "porter")) -> Done:
        command = [sys.executable, *python, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        return Done(done.returncode, done.stdout, done.stderr)

    return run
