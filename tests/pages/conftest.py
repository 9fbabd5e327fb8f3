"""A reader's folder: empty but for what the README's first lines make; what is heavy is made once for all pages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pages.blocks import ROOT

DEMO = "python -m porter.bench.demo_checkpoint demo"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ports in it; transformers copies remote code into it, not into a cache of its own."""
    shutil.copytree(ROOT / "generated_models", tmp_path / "generated_models")
    monkeypatch.chdir(tmp_path)
    for module in ("transformers.dynamic_module_utils", "transformers.utils.hub", "transformers.utils"):
        monkeypatch.setattr(f"{module}.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "modules")])
    monkeypatch.setattr("porter.runner.backends.has_cpp_compiler", lambda: False)  # else inductor, a minute of g++
    return tmp_path


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[], Path]:
    """The demo checkpoint, trained when it is first asked for, by one of the processes that run tests."""
    common = tmp_path_factory.getbasetemp()
    common = common if worker_id == "master" else common.parent

    def made() -> Path:
        from porter.bench.demo_checkpoint import make_demo_checkpoint

        with FileLock(common / "demo.lock"):
            if not (common / "demo").is_dir():
                make_demo_checkpoint(common / "making")
                (common / "making").rename(common / "demo")
        return common / "demo"

    return made
