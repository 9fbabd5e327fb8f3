"""What a port is compared with: an installed module, or code where it lies, as it was when it was ported."""

import json
import shutil

import pytest

from porter.bench.generation import Shape, compare
from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.source import load_source
from porter.verify.parity import verify
from porter.verify.port import open_port, open_to_compare
from tests.verify.conftest import port_to, write_checkpoint_code

FILES = ["config.json", "configuration_mine.py", "modeling_mine.py"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a checkpoint's code and its port."""
    root = tmp_path_factory.mktemp("project")
    port_to(root / "generated_models" / "mine", str(write_checkpoint_code(root / "checkpoint")))
    return root


@pytest.fixture
def project(whole, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(whole, tmp_path / "project")


def refusal(outcome) -> str:
    assert isinstance(outcome, Refused), outcome
    (diagnostic,) = outcome.diagnostics
    return render(diagnostic)


def edit_account(port, change):
    account = json.loads((port / "port.json").read_text())
    change(account["source"])
    (port / "port.json").write_text(json.dumps(account))


def test_a_port_of_a_checkpoints_own_code_passes_parity_and_leaves_no_trace_there(whole):
    checks = verify(whole / "generated_models" / "mine", quick=True)
    assert not isinstance(checks, Refused), refusal(checks)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20
    assert sorted(path.name for path in (whole / "checkpoint").iterdir()) == FILES


def test_source_and_port_have_each_their_own_configuration(whole):
    port = open_to_compare(whole / "generated_models" / "mine")
    source_class, port_class = port.load_source_class(), port.load_class()
    assert source_class.config_class.__name__ == port_class.config_class.__name__ == "MineConfig"
    assert source_class.config_class is not port_class.config_class
    assert source_class.is_custom_code() and port_class.is_custom_code()


def test_it_is_timed_against_its_source(whole):
    shape = Shape("a toy", 64, 2, 4, 2, prompt=8, steps=4)
    (found,) = compare(open_to_compare(whole / "generated_models" / "mine"), (shape,), ("eager",), rounds=1)
    assert found.ratios[0].source_ms > 0


def test_code_and_port_may_move_together(project):
    moved = project.rename(project.with_name("elsewhere"))
    port = open_to_compare(moved / "generated_models" / "mine")
    assert not isinstance(port, Refused), refusal(port)
    assert port.origin.spec == str(moved / "checkpoint" / "modeling_mine.py")
    source = load_source(port.origin.spec)
    assert not isinstance(source, Refused) and source.sha256 == port.origin.sha256


@pytest.mark.parametrize("name", ["modeling_mine.py", "configuration_mine.py"])
def test_code_that_was_changed_is_refused_at_the_recorded_hash(project, name):
    port, file = project / "generated_models" / "mine", project / "checkpoint" / name
    file.write_text(file.read_text() + "\n")
    text = refusal(verify(port, quick=True))
    assert text.startswith(f"error[P091]: `{file}` is not what `{port}` was made from\n")
    assert f"--> {port}/port.json:" in text and "now it is " in text
    again = f"porter convert {project}/checkpoint/modeling_mine.py --out {port} --force"
    assert text.endswith(f"= help: convert it again: `{again}`")


@pytest.mark.parametrize("name", ["modeling_mine.py", "configuration_mine.py"])
def test_code_that_is_gone_is_refused_with_its_path(project, name):
    port, file = project / "generated_models" / "mine", project / "checkpoint" / name
    file.unlink()
    text = refusal(verify(port, quick=True))
    assert text.startswith(f"error[P090]: `{file}`, which `{port}` was made from, is not there\n")
    assert f"--> {port}/port.json:" in text
    opened = open_port(port)  # what does not compare needs no source
    assert not isinstance(opened, Refused) and opened.load_class().__name__ == "MineForCausalLM"


def test_code_that_does_not_load_is_refused_with_what_it_says(project):
    port, file = project / "generated_models" / "mine", project / "checkpoint" / "modeling_mine.py"
    file.write_text(f"import a_package_that_is_not_there\n{file.read_text()}")
    text = refusal(verify(port_to(port, str(file), force=True), quick=True))
    assert text.startswith(f"error[P092]: `{file}`, which `{port}` was made from, does not load\n")
    assert "ModuleNotFoundError: No module named 'a_package_that_is_not_there'" in text
    assert text.endswith("= help: install what it imports")


def test_code_changed_and_ported_again_is_loaded_again(project):
    port, file = project / "generated_models" / "mine", project / "checkpoint" / "configuration_mine.py"
    before = open_to_compare(port).load_source_class()
    file.write_text(file.read_text() + "\nADDED = 1\n")
    after = open_to_compare(port_to(port, str(file.parent), force=True)).load_source_class()
    assert before is not after and after.config_class.__module__ != before.config_class.__module__


def test_an_account_that_does_not_say_where_the_code_lies(project):
    port = project / "generated_models" / "mine"
    edit_account(port, lambda source: source.pop("path"))
    text = refusal(verify(port, quick=True))
    assert text.startswith("error[P090]: ") and text.endswith("= help: convert it again")


def test_another_installed_module_than_the_one_ported_is_refused(llama, tmp_path):
    port = shutil.copytree(llama, tmp_path / "llama")
    edit_account(port, lambda source: source.update(sha256="0" * 64))
    text = refusal(verify(port, quick=True))
    assert text.startswith("error[P091]: `") and f"modeling_llama.py` is not what `{port}` was made from\n" in text
    again = f"porter convert transformers.models.llama.modeling_llama --out {port} --force"
    assert text.endswith(f"= help: convert it again: `{again}`")


def test_a_module_that_is_not_installed_any_more_is_refused(llama, tmp_path):
    port = shutil.copytree(llama, tmp_path / "llama")
    edit_account(port, lambda source: source.update(module="transformers.models.lama.modeling_lama"))
    text = refusal(verify(port, quick=True))
    assert text.startswith("error[P090]: `transformers.models.lama.modeling_lama`, which `")
    assert "did you mean" in text
