"""Probes in processes of their own, and the record: what is lost, what is kept, what begins anew."""

import copy
import faulthandler
import json
import os
import time

import pytest
import torch

from porter.accept.plan import _ops
from porter.accept.probe import AGREES, DIFFERS, LOST, NOT_RUN, OPS, Probe
from porter.accept.record import FILE, is_accepted, new_record, read_records, write_record
from porter.accept.run import run
from porter.diagnostics import Refused
from porter.matrix.processes import Limits
from tests.accept.conftest import calls_at, sides

LIMITS = Limits(seconds=60, memory=16)
DEVICE = {"kind": "npu", "name": "Ascend910B3", "count": 8, "memory": 64 << 30, "stands_for": "Ascend910B"}
VERSIONS = {"torch_npu": "2.13.0", "CANN": "8.3.RC1"}


@pytest.fixture(autouse=True)
def one_thread():
    """Forked processes may not have threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def record_of(folder, **options):
    return new_record(folder, DEVICE, VERSIONS, [], {"configuration": "tiny", **options})


def says(*outcomes):
    return lambda say: [say({"call": "c", "outcome": outcome, "detail": outcome}) for outcome in outcomes]


def asked(folder, probes, record=None, **options):
    found = read_records(folder)
    record = record or record_of(folder)
    told = list(run(folder, record, found, probes, limits=options.pop("limits", LIMITS), **options))
    return record, told


def test_each_way_to_be_lost_costs_that_op_alone(own_port):
    """A hang, a crash, an exit and memory that is not there, each in one op of a port."""

    def hangs(right, given):
        time.sleep(3600)

    def crashes(right, given):
        faulthandler.disable()  # pytest's, which would print in this process's place
        os.abort()

    def leaves(right, given):
        os._exit(3)

    def eats(right, given):
        raise torch.OutOfMemoryError("NPU out of memory. Tried to allocate 20.00 GiB")

    wrong = {"npu_rms_norm": hangs, "npu_rotary_mul": crashes, "scatter_update_": leaves, "npu_swiglu": eats}
    folder = own_port("llama2")
    probes = list(_ops(calls_at("llama2"), sides(**wrong)))
    record, _ = asked(folder, probes, limits=Limits(seconds=15, memory=16))
    found = {probe["title"]: (probe["outcome"], probe["detail"]) for probe in record["probes"].values()}
    assert {name for name, (outcome, _) in found.items() if outcome == LOST} == wrong.keys()
    assert {outcome for name, (outcome, _) in found.items() if name not in wrong} == {AGREES}
    assert found["npu_rms_norm"][1] == "no answer in 15 s" and "SIGABRT" in found["npu_rotary_mul"][1]
    assert "with code 3" in found["scatter_update_"][1] and "out of memory" in found["npu_swiglu"][1]
    assert read_records(folder) == [json.loads(json.dumps(record))]
    assert not is_accepted(record) and record["finished"]

    again, told = asked(folder, list(_ops(calls_at("llama2"), sides())))  # the device was mended
    assert [one.kept for one in told] == [one.probe.title not in wrong for one in told]
    assert is_accepted(again) and again["started"] == record["started"]


def test_what_was_said_before_the_end_stays(own_port):
    def dies(say):
        say({"call": "first", "outcome": AGREES, "detail": ""})
        os.kill(os.getpid(), 9)

    folder = own_port("llama2")
    record, _ = asked(folder, [Probe("a", OPS, "a", dies), Probe("b", OPS, "b", says(AGREES))])
    assert record["probes"]["a"]["outcome"] == LOST and len(record["probes"]["a"]["entries"]) == 1
    assert record["probes"]["b"]["outcome"] == AGREES


def test_a_run_that_is_killed_goes_on(own_port):
    """What a killed porter leaves is a record without the probe it was at."""
    folder = own_port("llama2")
    probes = [Probe(name, OPS, name, says(AGREES)) for name in "ab"]
    record = record_of(folder)
    running = run(folder, record, [], probes, limits=LIMITS)
    next(running)
    left = read_records(folder)
    assert set(left[0]["probes"]) == {"a"} and left[0]["finished"] is None and not is_accepted(left[0])
    running.close()
    _, told = asked(folder, [Probe("a", OPS, "a", says(DIFFERS)), *probes[1:]])
    assert [(one.outcome, one.kept) for one in told] == [(AGREES, True), (AGREES, False)]


@pytest.mark.parametrize("changed", ["port", "code", "versions", "options", "fresh"])
def test_a_record_of_something_else_is_not_gone_on_with(own_port, changed):
    folder = own_port("llama2")
    probes = [Probe("a", OPS, "a", says(AGREES))]
    before, _ = asked(folder, probes)
    record = copy.deepcopy(before)
    if changed == "port":
        (folder / "modeling_llama.py").write_text("# edited\n")
        record = record_of(folder)
    elif changed == "code":
        record["porter"]["computing"] = "another"
    elif changed == "versions":
        record["place"]["versions"]["CANN"] = "8.5"
    elif changed == "options":
        record["options"]["tp"] = 2
    record["probes"] = {}
    _, told = asked(folder, probes, record, fresh=changed == "fresh")
    assert [one.kept for one in told] == [False]
    assert len(read_records(folder)) == (2 if changed == "versions" else 1), "one for each place"


def test_a_probe_that_is_not_run_says_why_and_is_no_failure(own_port):
    record, _ = asked(own_port("llama2"), [Probe("a", OPS, "a", None, "one rank was asked for")])
    assert record["probes"]["a"]["outcome"] == NOT_RUN and record["probes"]["a"]["detail"] == "one rank was asked for"
    assert is_accepted(record)


def test_a_record_that_cannot_be_read_is_never_written_over(own_port):
    folder = own_port("llama2")
    for text in ("{", '{"schema": 99, "records": []}', "[]"):
        (folder / FILE).write_text(text)
        found = read_records(folder)
        assert isinstance(found, Refused) and found.diagnostics[0].code == "P175"
        assert (folder / FILE).read_text() == text


def test_a_disk_that_is_full_leaves_the_record_as_it_was(own_port, monkeypatch):
    folder = own_port("llama2")
    record, _ = asked(folder, [Probe("a", OPS, "a", says(AGREES))])
    before = (folder / FILE).read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("porter.emit.swap.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_record(folder, {**record, "probes": {}}, [])
    assert (folder / FILE).read_bytes() == before
    assert {path.name for path in folder.iterdir()} >= {FILE} and not list(folder.glob(".porter-*"))
