"""A process in which a port stands in place of its source, and transformers' own tests of the model run on it.

Contract: `python tests/ports/in_place.py FOLDER MODEL RESULT [PORT]` runs the general tests of
FOLDER/models/MODEL/test_modeling_MODEL.py and writes RESULT, a JSON object: test -> [outcome, the error or why it was
skipped]. PORT is a port's modeling file: it is executed under the source module's name before anything imports that, so
`from transformers import ...`, the auto classes and the tests all find the port's classes. Without PORT the source
runs. FOLDER is a folder as `transformers_tests.py` lays it out; helper files that it lacks are stood in for, and a test
that calls into one is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import unittest
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import transformers
import transformers.utils

# Only process groups, exports and the hub need these; the published source archive leaves them out.
_STOOD_IN_FOR = ("distributed_testing_utils", "exporters", "utils", "test_module", "httpx")


class _Absent(Loader, MetaPathFinder):
    """Found last, so only where there is no such file: every name of the module skips the test that calls it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        inner = name.removeprefix(f"{self.package}.").split(".")[0]
        return ModuleSpec(name, self, is_package=True) if inner in _STOOD_IN_FOR else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Skips(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__path__ = []


class _Skips(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("Mixin"):
            return type(name, (), {})

        def skip(*arguments: Any, **options: Any) -> Any:
            raise unittest.SkipTest(f"the folder has no {self.__name__}")

        return skip


class _Outcomes:
    """A pytest plugin: what became of each test."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """The first failure of a test, its subtests and its teardown is the one that counts."""
        test = report.nodeid.rsplit("::", 1)[-1]
        if self.found.get(test, ("",))[0] == "failed":
            return
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.found[test] = ("failed", _told(crash.message if crash is not None else report.longrepr))
        elif report.skipped:
            self.found[test] = ("skipped", _told(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else "")
        elif report.when == "call":
            self.found.setdefault(test, ("passed", ""))

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """The general testers ask for gelu, whatever the model: both sides are tested with the models' own silu."""
        for tester in {getattr(item.cls, "model_tester_class", None) for item in items} - {None}:
            made = tester.__init__

            def build(self: Any, *arguments: Any, made: Any = made, **options: Any) -> None:
                made(self, *arguments, **options)
                self.hidden_act = "silu"

            tester.__init__ = build


def _told(text: object) -> str:
    """An error in one line, as long as its words matter."""
    return " ".join(str(text).split())[:300]


def put_in_place(model: str, port: Path) -> None:
    """Execute the port's file as transformers' own module of the model."""
    name = f"transformers.models.{model}.modeling_{model}"
    parent = importlib.import_module(f"transformers.models.{model}")
    assert name not in sys.modules, "the source was imported first"
    spec = importlib.util.spec_from_file_location(name, port)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    setattr(parent, f"modeling_{model}", module)


def main(folder: Path, model: str, result: Path, port: Path | None) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"  # what wants the hub is skipped or fails, on the source as on the port
    os.chdir(folder.parent)
    sys.path.insert(0, str(folder.parent))  # the files import each other as a package
    sys.meta_path.append(_Absent(folder.name))
    # They ask for transformers as it lies beside them; the installed one is what is tested.
    transformers.utils.direct_transformers_import = lambda *place, **names: transformers
    if port is not None:
        put_in_place(model, port)
    outcomes = _Outcomes()
    options = ["-q", "--no-header", "-p", "no:cacheprovider", "--disable-warnings", "--tb=short", "-k", "ModelTest"]
    file = folder / "models" / model / f"test_modeling_{model}.py"
    status = pytest.main([str(file), "--rootdir", str(folder.parent), *options], plugins=[outcomes])
    result.write_text(json.dumps(outcomes.found, indent=1))
    return int(status)


if __name__ == "__main__":
    tests, name, result_file, *port_file = sys.argv[1:]
    sys.exit(main(Path(tests), name, Path(result_file), Path(port_file[0]) if port_file else None))
