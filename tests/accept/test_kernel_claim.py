"""What is said of a port's kernels: "kernel: not run", or what the record of a device says, with its place."""

import copy

import pytest

from porter.accept.probe import AGREES, DIFFERS, MODEL, OPS
from porter.accept.record import new_record, write_record
from porter.release.stack import Stack
from porter.report import kernel
from porter.report.blocks import plain
from porter.report.claims import of_checks
from porter.report.kernel import NOT_RUN, kernel_claim
from porter.verify.finding import Check
from tests.accept.test_run import DEVICE, VERSIONS

PLACE = "Ascend910B3 (CANN 8.3.RC1, torch_npu 2.13.0)"
ACCEPTED = f"kernel: run on {PLACE}: 2 of 2 ops agree with porter's, 1 of 1 comparisons with the source"


def probe(part, outcome):
    return {"part": part, "title": f"a {part} probe", "outcome": outcome, "detail": "", "entries": []}


@pytest.fixture
def folder(own_port):
    return own_port("llama2")


@pytest.fixture
def record(folder):
    found = new_record(folder, DEVICE, VERSIONS, [], {"configuration": "llama-2-7b"})
    found["probes"] = {"a": probe(OPS, AGREES), "b": probe(OPS, AGREES), "c": probe(MODEL, AGREES)}
    return {**found, "finished": found["started"]}


def test_without_a_record_no_kernel_was_run(folder):
    assert kernel_claim(folder) == NOT_RUN


def test_a_record_is_quoted_with_its_chip_and_versions(folder, record):
    write_record(folder, record, [])
    assert kernel_claim(folder) == kernel_claim(folder, "Ascend910B3") == ACCEPTED
    check = Check("logits", "base", "passed", 0.0, 1e-5)
    assert plain(of_checks([check], kernel_claim(folder))).endswith(ACCEPTED)
    assert plain(of_checks([check])).endswith(NOT_RUN)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_rehearsal_never_takes_the_place_of_a_run(folder, record, kind):
    rehearsal = new_record(folder, {**DEVICE, "kind": kind, "name": "x86_64"}, VERSIONS, [], record["options"])
    write_record(folder, {**rehearsal, "probes": record["probes"], "finished": record["started"]}, [])
    assert kernel_claim(folder) == NOT_RUN
    claim = kernel.claim_of({**rehearsal, "probes": record["probes"]})
    assert claim.startswith(f"{NOT_RUN}: this is a rehearsal on {kind}")


def test_another_chip_is_not_the_one_that_ran(folder, record):
    write_record(folder, record, [])
    assert kernel_claim(folder, "Ascend910_9391") == f"{NOT_RUN} on Ascend910_9391; a record is of {PLACE}"


@pytest.mark.parametrize(("name", "version"), [("CANN", "8.5.0"), ("torch_npu", "2.14.0")])
def test_other_versions_are_not_those_that_ran(folder, record, monkeypatch, name, version):
    write_record(folder, record, [])
    monkeypatch.setattr(kernel, "installed_stack", lambda: Stack({**VERSIONS, name: version}))
    assert kernel_claim(folder) == f"{NOT_RUN} with {name} {version}; a record is of {PLACE}"
    monkeypatch.setattr(kernel, "installed_stack", lambda: Stack(VERSIONS))
    assert kernel_claim(folder) == ACCEPTED


def test_a_changed_port_or_kernel_was_not_run(folder, record):
    write_record(folder, {**record, "porter": {**record["porter"], "computing": "another"}}, [])
    assert kernel_claim(folder) == NOT_RUN
    write_record(folder, record, [])
    (folder / "modeling_llama.py").write_text("# edited\n")
    assert kernel_claim(folder) == NOT_RUN


def test_what_differs_and_what_was_not_run_to_its_end_is_said(folder, record):
    wrong = copy.deepcopy(record)
    wrong["probes"]["b"]["outcome"] = DIFFERS
    write_record(folder, wrong, [])
    assert "1 of 2 ops agree" in kernel_claim(folder) and kernel_claim(folder).endswith("; not: a ops probe")
    write_record(folder, {**record, "finished": None}, [])
    assert kernel_claim(folder).endswith("; not run to its end")


def test_a_record_that_cannot_be_read_is_said(folder):
    (folder / "accept.json").write_text("{")
    assert kernel_claim(folder).startswith(NOT_RUN) and "no record that this porter can read" in kernel_claim(folder)
