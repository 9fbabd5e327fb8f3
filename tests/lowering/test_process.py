"""The worker's process: what it leaves, and what is said when it ends without an answer."""

import pytest

from porter.diagnostics import Refused
from porter.lowering import process
from porter.lowering.installation import Installation


@pytest.fixture
def broken_wheel(tmp_path, monkeypatch):
    """An installation whose torch_npu raises when it is imported."""
    package = tmp_path / "torch_npu"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this torch_npu is broken')")
    monkeypatch.setattr(process, "cann_is_installed", lambda: True)
    monkeypatch.setattr(process, "find_or_install", lambda *args: Installation(package, "2.13.0", "", (tmp_path,)))


def test_a_process_that_ends_without_an_answer_gives_its_last_words(broken_wheel):
    found = process.ask("lower", {"soc": "Ascend910B3", "traces": [], "text": False}, lambda *step: None)
    assert isinstance(found, Refused)
    assert found.diagnostics[0].code == "P115"
    assert "RuntimeError: this torch_npu is broken" in found.diagnostics[0].notes


def test_a_refused_installation_starts_no_process(monkeypatch):
    refused = Refused(())
    monkeypatch.setattr(process, "find_or_install", lambda *args: refused)
    monkeypatch.setattr(process.subprocess, "Popen", None)
    assert process.ask("lower", {}, lambda *step: None) is refused
