"""Ops of one's own: in a port and its account, computed as the rule says, and an error where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import ZayaConfig

from porter.npu.own import register_text, require_ops, without_kernel
from porter.runner import CannotRun
from porter.runner.find import check_ops, find_class
from porter.verify.tiny import tiny_config
from tests.own.conftest import MODEL, OPS, RULE

ROOT = Path(__file__).parents[2]


def converted(run, folder: Path, *options: str) -> tuple[int, str, str]:
    return run("convert", MODEL, "--rules", folder, "--out", "ports/zaya", *options)


def test_a_port_with_an_op_of_its_own_is_the_source_in_a_fresh_folder(run, rules, tmp_path, monkeypatch):
    """The folder of rules is gone, and so is the process that knew the op."""
    assert converted(run, rules)[0] == 0
    account = json.loads((tmp_path / "ports/zaya/port.json").read_text())
    (file,) = account["ops"]
    assert file["ops"] == ["acme::scaled_sum"] and (tmp_path / "ports/zaya" / file["file"]).read_text() == OPS
    assert find_class("zaya", tmp_path / "ports").__name__ == "ZayaForCausalLM"
    check_ops("zaya", tmp_path / "ports", "cpu")
    with pytest.raises(CannotRun, match="`zaya` needs `acme::scaled_sum`, without a kernel for npu here"):
        check_ops("zaya", tmp_path / "ports", "npu")
    shutil.move(tmp_path / "ports", tmp_path / "elsewhere")
    shutil.rmtree(rules)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "porter", "verify", "elsewhere/zaya", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check["outcome"] for check in json.loads(done.stdout)["checks"]}
    assert set(checks.values()) <= {"passed", "not applicable"} and "passed" in checks.values()


LOADS = """
import sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
torch.manual_seed(0)
source = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(sys.argv[1])).eval()
config = AutoConfig.from_pretrained(sys.argv[1])
port = AutoModelForCausalLM.from_config(config, trust_remote_code=True).eval()
port.load_state_dict(source.state_dict())
ids = torch.arange(3, 12)[None]
assert type(source) is not type(port) and torch.ops.acme.scaled_sum
assert torch.allclose(port(ids).logits, source(ids).logits, atol=1e-5)
"""


def test_an_export_has_the_op_and_loads_in_a_process_that_knows_none(run, rules, tmp_path):
    assert converted(run, rules)[0] == 0
    checkpoint = tmp_path / "checkpoint"
    tiny_config(ZayaConfig).save_pretrained(checkpoint)
    assert run("export", "ports/zaya", "--to", checkpoint)[0] == 0
    assert (checkpoint / "ops_scaled_sum.py").read_text() == OPS
    shutil.rmtree(rules)
    shutil.rmtree(tmp_path / "ports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_MODULES_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", LOADS, checkpoint], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_an_op_that_computes_something_else_is_found_out(run, rules):
    file = rules / "ops" / "scaled_sum.py"
    wrong = OPS.replace("(left + right)", "(left - right)").replace("acme", "acme_wrong")
    file.write_text(wrong)
    (rules / "scaled_residual.py").write_text(RULE.replace("ops.acme.", "ops.acme_wrong."))
    code, out, _ = run("prove", "--rules", rules, "--json")
    (proof,) = json.loads(out)["proofs"]
    assert code == 1 and proof["status"] == "failed"


def test_the_rule_is_proved_with_its_op(run, rules):
    code, out, _ = run("prove", "scaled_residual", "--rules", rules, "--json")
    (proof,) = json.loads(out)["proofs"]
    assert code == 0 and proof["status"] == "passed"


def test_importing_porter_registers_no_op_of_anybody_else(rules):
    text = "import porter.npu, porter.runtime, torch; assert not hasattr(torch.ops.acme, 'scaled_sum')"
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("        _fake,\n", "", "`acme::scaled_sum` has no fake kernel"),
        ("        scaled_sum,\n        _fake,\n", "", "`acme::scaled_sum` has no kernel"),
        ("acme::scaled_sum(", "npu_rms_norm(", "there is a kernel for `npu::npu_rms_norm` already"),
        ("OPS = (", "MINE = (", "a file of ops needs `OPS"),
        ("import torch\n", "import torch\nfrom . import other\n", "goes into a port alone"),
        ('"acme::scaled_sum(Tensor x', 'torch.f"(Tensor x', "not valid Python"),
    ],
)
def test_broken_ops_are_located(run, rules, old, new, says):
    assert old in OPS
    (rules / "ops" / "scaled_sum.py").write_text(OPS.replace(old, new, 1))
    code, _, err = converted(run, Path("acme_rules"))
    assert code == 1 and says in err and "acme_rules/ops/scaled_sum.py:" in err and err.count("error[") == 1


def test_an_op_without_a_kernel_ports_nothing_unasked_and_is_missed_when_loaded(run, rules, tmp_path):
    shutil.rmtree(rules / "ops")
    (rules / "scaled_residual.py").write_text(RULE.replace("ops.acme.", "ops.acme_lost."))
    code, _, err = converted(run, Path("acme_rules"))
    assert code == 1 and "error[P034]" in err and "`torch.ops.acme_lost.scaled_sum`" in err
    assert "--> acme_rules/scaled_residual.py:22:" in err and not (tmp_path / "ports").exists()
    code, _, err = converted(run, rules, "--unproved")
    assert code == 0 and "taken unproved" in err
    account = json.loads((tmp_path / "ports/zaya/port.json").read_text())
    assert account["options"]["unproved"] and account["ops_needed"] == ["acme_lost::scaled_sum"]
    code, out, _ = run("verify", "ports/zaya", "--quick")
    assert code == 1 and "needs the op `acme_lost::scaled_sum`, which is not there" in out
    library = torch.library.Library("acme_lost", "FRAGMENT")  # a library that brings it, for some devices
    library.define("scaled_sum(Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, Tensor f) -> Tensor")
    library.impl("scaled_sum", lambda a, b, c, d, e, f: a, "CPU")
    check_ops("zaya", tmp_path / "ports", "cpu")
    for device in ("npu", "cuda"):
        with pytest.raises(CannotRun, match=f"`acme_lost::scaled_sum`, without a kernel for {device}") as refused:
            check_ops("zaya", tmp_path / "ports", device)
        assert refused.value.diagnostic.code == "P038" and f"kernels for {device}" in refused.value.diagnostic.help


@pytest.mark.parametrize(
    ("key", "lacking"),
    [
        ("CPU", ("npu", "cuda")),
        ("CUDA", ("npu", "cpu")),
        ("PrivateUse1", ("cpu", "cuda")),
        ("CompositeExplicitAutograd", ()),
        ("CompositeImplicitAutograd", ()),
        (None, ("npu", "cpu", "cuda")),
    ],
)
@pytest.mark.parametrize("overload", ["", ".out"])
def test_a_kernel_for_a_device_or_made_of_other_ops_is_one(key, lacking, overload):
    space = f"acme_{key}{overload[1:]}".lower()
    library = torch.library.Library(space, "FRAGMENT")
    library.define(f"gate{overload}(Tensor x) -> Tensor")
    if key is not None:
        library.impl(f"gate{overload}", lambda x: x, key)
    for device in ("npu", "cpu", "cuda"):
        assert bool(without_kernel([f"{space}::gate"], device)) == (device in lacking)
    assert without_kernel([f"{space}::none"], "cpu")


@pytest.mark.parametrize("lost", ["proof", "not_without_a_shift"])
def test_a_rule_that_is_not_proved_ports_nothing_unasked(run, rules, tmp_path, lost):
    (rules / "scaled_residual.py").write_text(RULE.replace(f"def {lost}(", f"def _{lost}("))
    code, _, err = converted(run, Path("acme_rules"))
    what = "`proof`" if lost == "proof" else "a `not_*` case"
    assert code == 1 and f"error[P033]: rule `scaled_residual` is not proved: it has no {what}" in err
    assert "--> acme_rules/scaled_residual.py:12:" in err and not (tmp_path / "ports").exists()
    assert converted(run, rules, "--unproved")[0] == 0
    account = json.loads((tmp_path / "ports/zaya/port.json").read_text())
    (mine,) = [rule for rule in account["rules"] if rule["rule"] == "scaled_residual"]
    assert mine["unproved"] and "--unproved" in account["regenerate"]
    assert "unproved" in run("prove", "--rules", rules)[1]


def test_a_kept_graph_is_of_all_code_of_a_port(tmp_path):
    """Of the model's file, of what is beside it and of its ops; in the encoding that each has."""
    from importlib.util import module_from_spec, spec_from_file_location

    from transformers import LlamaConfig

    from porter.runner.graph import _identity

    for name in ("modeling_x", "ops_gate", "helpers"):
        (tmp_path / f"{name}.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe9\nclass Model:\n    pass\n")
    spec = spec_from_file_location("modeling_x", tmp_path / "modeling_x.py")
    module = module_from_spec(spec)
    sys.modules["modeling_x"] = module
    try:
        spec.loader.exec_module(module)
        model = module.Model()
        model.config = LlamaConfig()
        found = [_identity(model)]
        assert _identity(model) == found[0]
        for name in ("modeling_x", "ops_gate", "helpers"):
            with (tmp_path / f"{name}.py").open("a") as file:
                file.write("# other\n")
            found.append(_identity(model))
    finally:
        del sys.modules["modeling_x"]
    (tmp_path / "port.diff").write_text("no code")
    assert len(set(found)) == 4


def test_another_op_of_one_name_in_a_process_is_an_error(tmp_path):
    from types import ModuleType

    from porter.npu.own import OtherOp, register_ops

    def module(name: str, text: str) -> ModuleType:
        made = ModuleType(name)
        made.__file__ = str(tmp_path / f"{name}.py")
        Path(made.__file__).write_text(text)
        exec(text, made.__dict__)
        return made

    text = OPS.replace("acme::", "acme_twice::")
    register_ops(module("one", text))
    register_ops(module("same", text))
    with pytest.raises(OtherOp, match="with other code"):
        register_ops(module("other", text.replace("left + right", "left - right")))


def test_an_op_of_torch_npu_is_called_through_that_name(tmp_path):
    from porter.npu import torch_npu

    with pytest.raises(ImportError, match="npu::npu_acme_double"):
        require_ops("npu::npu_acme_double")
    text = (
        "import torch\nfrom porter.npu.registry import Op\n"
        "def double(x):\n    return x + x\n\n"
        "OPS = (Op('npu_acme_double(Tensor x) -> Tensor', double, torch.empty_like),)\n"
    )
    register_text(text, "doubling")
    require_ops("npu::npu_acme_double")
    assert torch.equal(torch_npu.npu_acme_double(torch.ones(2)), torch.full((2,), 2.0))
    assert without_kernel(["npu::npu_acme_double"], "npu") and not without_kernel(["npu::npu_acme_double"], "cpu")
    graph = torch.compile(lambda x: torch_npu.npu_acme_double(x) + 1, backend="aot_eager", fullgraph=True)
    assert torch.equal(graph(torch.ones(2)), torch.full((2,), 3.0))
