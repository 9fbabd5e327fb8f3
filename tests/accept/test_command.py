"""The command as a person with a card would give it, rehearsed on the CPU from end to end."""

from __future__ import annotations

import importlib.machinery
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import porter.cli
from porter.accept.probe import AGREES, NOT_RUN, NOTED, PARTS, STACK
from porter.accept.record import write_record
from porter.accept.reports import REPORTED
from porter.diagnostics import Refused
from porter.lowering.installation import find_or_install
from porter.report.acceptance_page import page
from porter.report.kernel import NOT_RUN as NO_KERNEL
from porter.report.kernel import kernel_claim
from porter.verify.contract import shipped_configs
from porter.verify.pair import write_checkpoint
from porter.verify.tiny import tiny_config
from tests.accept.conftest import calls_at, port_of
from tests.accept.test_run import record_of

ROOT = Path(__file__).parents[2]


def accept(folder, *words, **environment):
    """The command in a process of its own, which forks: (exit code, stdout, stderr)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "porter", "accept", str(folder), "--device", "cpu", "--backend", "eager"]
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout, done.stderr


def is_there(is_installed):
    """Whether torch_npu is to be had: where it may be installed, or is in this environment."""
    own = importlib.machinery.PathFinder.find_spec("torch_npu")
    return own is not None or (is_installed and not isinstance(find_or_install(lambda *step: None), Refused))


def refused(capfd, *words):
    code = porter.cli.exit_code([str(word) for word in words])
    return code, capfd.readouterr().err


@pytest.mark.parametrize("name", ["llama2", "mixtral"])
def test_a_rehearsal_fills_every_line_of_the_record(name, own_port, tiny_json, tmp_path):
    folder, words, whole = own_port(name), ["--config", tiny_json(name)], name == "llama2"
    if whole:  # a checkpoint and ranks, once
        source = port_of(name).load_source_class()
        write_checkpoint(source, tiny_config(source.config_class), tmp_path / "checkpoint", torch.bfloat16)
        words += ["--model-path", tmp_path / "checkpoint", "--tp", "2"]
    html = tmp_path / "page.html"
    no_wheel = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    code, out, err = accept(folder, *words, "--html", html, **({} if whole else no_wheel))
    assert code == 0, out + err
    (record,) = json.loads((folder / "accept.json").read_text())["records"]
    probes = record["probes"]

    assert record["rehearsal"] and record["device"]["kind"] == "cpu" and record["finished"]
    there = {part["part"] for part in record["parts"]}
    assert {"python", "torch", "torch_npu", "CANN", "transformers", "porter's ops"} <= there
    assert record["options"]["configuration"] == str(tiny_json(name)) and record["porter"]["computing"]

    ops = {call.op for call in calls_at(name)}
    assert ops == {key for key, probe in probes.items() if probe["part"] == "ops"}
    for op in ops:
        entries = probes[op]["entries"]
        calls = [entry for entry in entries if "arguments" in entry]
        assert calls and all(call["ms"] > 0 and call["figures"] and call["outcome"] == AGREES for call in calls)
        assert {call["dtype"] for call in calls} >= ({"float32"} if "gating" in op else {"bfloat16", "float16"})
        assert any("forbidden" in entry and entry["contract"] for entry in entries)
        assert [entry["outcome"] for entry in entries if entry["call" if "call" in entry else "forbidden"] == "schema"]
    assert {f"report: {report.name}" for report in REPORTED} <= probes.keys()

    wheel = [probes[key] for key in ("wheel: calls", "wheel: graph")]
    assert [probe["outcome"] for probe in wheel] == [AGREES if is_there(whole) else NOT_RUN] * 2
    assert all(probe["detail"] for probe in wheel if probe["outcome"] == NOT_RUN), "it says why"

    agree = {"model: float32", "model: 16 bits", "model: layers, bfloat16", "model: layers, float16", "model: compiled"}
    agree |= {"model: ranks", "checkpoint: by layer"} if whole else set()
    assert {probes[key]["outcome"] for key in agree} == {AGREES}
    assert [entry["call"] for entry in probes["model: layers, bfloat16"]["entries"]] == ["layer 0", "layer 1"]
    assert {entry["call"] for entry in probes["model: compiled"]["entries"]} == {
        "compiled prefill, left padding", "compiled decode, left padding"
    }  # fmt: skip
    if whole:
        assert probes["checkpoint: tokens"]["outcome"] in (AGREES, NOTED)
    else:
        assert {probes[key]["outcome"] for key in ("model: ranks", "checkpoint: by layer")} == {NOT_RUN}
        assert "--tp" in probes["model: ranks"]["detail"] and "--model-path" in probes["checkpoint: tokens"]["detail"]
    timed = {entry["call"].split(", ", 4)[-1]: entry for entry in probes["times"]["entries"]}
    assert set(timed) == {"eager, prefill", "eager, decode", "compiled, prefill", "compiled, decode"}
    assert all(entry["ms"] > 0 and entry["ratio"] > 0 for entry in timed.values())
    assert timed["eager, decode"]["bandwidth_share"] > 0

    assert out.rstrip().endswith(f"{NO_KERNEL}: this is a rehearsal on cpu, by porter's own kernels")
    assert kernel_claim(folder) == NO_KERNEL, "a rehearsal is not quoted"
    text = html.read_text()
    assert text == page(record) and all(title.split(",")[0] in text for key, title in PARTS.items() if key != STACK)
    assert not re.search(r"(src|href)=|<script|url\(", text), "the page needs nothing beside it"


def test_a_page_escapes_what_it_is_given(own_port):
    record = record_of(own_port("llama2"))
    record["device"]["name"] = "<script>alert(1)</script>"
    entry = {"call": "a <b>", "outcome": AGREES, "detail": "`x` & y"}
    record["probes"]["a"] = {
        "part": "ops", "title": "<i>", "about": "", "used": None, "outcome": AGREES, "detail": "", "entries": [entry]
    }  # fmt: skip
    text = page(record)
    assert "<script" not in text and "<i>" not in text and "<code>x</code> &amp; y" in text


@pytest.mark.parametrize("kind", ["npu", "cuda"])
def test_a_device_that_is_not_there_is_one_clear_error(own_port, capfd, kind):
    code, err = refused(capfd, "accept", own_port("llama2"), "--device", kind)
    assert code == 1 and err.count("error[") == 1 and "error[P170]: there is no" in err and "--device cpu" in err
    assert not (port_of("llama2").directory / "accept.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "llama-2-700b"], "error[P116]"),
        (["--model-path", "nowhere"], "error[P176]: `nowhere` is no checkpoint"),
        (["--backend", "npugraph_ex"], "error[P086]"),
        (["--config", "llama-2-7b", "--tp", "5"], "error[P116]: llama-2-7b"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(own_port, capfd, words, message):
    folder = own_port("llama2")
    code, err = refused(capfd, "accept", folder, "--device", "cpu", *words)
    assert code == 1 and message in err and not (folder / "accept.json").exists()


def test_an_unreadable_record_and_stand_ins_on_a_device_are_refused(own_port, capfd, tmp_path):
    folder = own_port("llama2")
    (folder / "accept.json").write_text("{")
    code, err = refused(capfd, "accept", folder, "--device", "cpu")
    assert code == 1 and "error[P175]" in err and (folder / "accept.json").read_text() == "{"
    (tmp_path / "wrong.py").write_text("STAND_INS = {}\n")
    code, err = refused(capfd, "accept", folder, "--device", "npu", "--stand-ins", tmp_path / "wrong.py")
    assert code == 2 and "--device cpu" in err


def test_verify_quotes_a_record_and_warns_of_what_people_saw(own_port, capfd, tmp_path):
    folder = own_port("llama2")
    record = {**record_of(folder), "finished": "now"}
    record["probes"] = {"a": {"part": "ops", "title": "a", "outcome": AGREES, "detail": "", "entries": []}}
    words = ("verify", folder, "--level", "contract", "--config", "llama-2-7b")
    place = "Ascend910B3 (CANN 8.3.RC1, torch_npu 2.13.0)"
    for written, last in ((False, NO_KERNEL), (True, f"kernel: run on {place}: 1 of 1 ops agree")):
        if written:
            write_record(folder, record, [])
        assert porter.cli.exit_code([str(word) for word in words]) == 0
        out = capfd.readouterr().out
        assert out.splitlines()[-1].startswith(last) and "warning: mask of one row: a bool mask" in out
    sizes = tmp_path / "sizes"
    sizes.mkdir()
    (sizes / "config.json").write_text(shipped_configs()["llama-2-7b"].read_text())
    assert porter.cli.exit_code([*map(str, words[:-1]), str(sizes)]) == 0
    assert "warning: mask of one row: a bool mask" in capfd.readouterr().out, "the folder that holds it is taken alike"
    assert porter.cli.exit_code([*map(str, words), "--soc", "Ascend910_9391"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == f"{NO_KERNEL} on Ascend910_9391; a record is of {place}"


def test_converting_again_keeps_the_record(own_port, capfd):
    folder = own_port("llama2")
    (folder / "accept.json").write_text('{"schema": 1, "records": []}')
    words = ("convert", "transformers.models.llama", "--out", folder)
    assert refused(capfd, *words, "--force")[0] == 0  # the registry beside it too, which the copy lacks
    assert refused(capfd, *words, "--check")[0] == 0
    assert (folder / "accept.json").read_text() == '{"schema": 1, "records": []}'
