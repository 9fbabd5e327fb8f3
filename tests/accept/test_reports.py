"""Devices that do what people reported: each is recognised by its probe; one that does not, agrees."""

import pytest
import torch

from porter.accept.probe import AGREES, DIFFERS, NOT_RUN
from porter.accept.record import outcome_of
from porter.accept.report_probes import At
from porter.accept.reports import REPORTED, augmented_sums, report_probes
from porter.npu.attention_contract import OP
from tests.accept.conftest import MODELS, calls_at, sides
from tests.accept.wrong import on_result

LLAMA = MODELS / "llama2" / "modeling_llama.py"


def ignores_a_mask_past_512(right, given):
    mask = given.get("atten_mask")
    if mask is not None and given["key"].shape[1] > 512 and given.get("actual_seq_lengths_kv") is None:
        given = {**given, "atten_mask": torch.zeros_like(mask)}
    return right(**given)


def uniform_without_a_mask(right, given):
    out, lse = right(**given)
    if given.get("input_layout") == "TND" and given.get("atten_mask") is None:
        out = given["value"].mean(0, keepdim=True).expand_as(out)
    return out, lse


def without_shift(right, given):
    return right(**{**given, "pse_shift": None})


def refuses_large_bnsd(right, given):
    if given["input"].shape[0] * given["input"].shape[1] > 256:
        raise RuntimeError("error 561002")
    return right(**given)


def loses_tokens(right, given):
    weights, experts, rows = right(**given)
    wrong = (torch.arange(len(experts)) < 1024)[:, None]
    return weights, experts * wrong, rows


def in_half(right, given):
    """The squares summed in the dtype of the input."""
    x, gamma = given["input"], given["gamma"]
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True)) * gamma, right(**given)[1]


def writes_nothing(right, given):
    return given["input"]


DEVICES = {
    "mask of one row": {OP: ignores_a_mask_past_512},
    "pse_shift of one head": {OP: without_shift},
    "TND without a mask": {OP: uniform_without_a_mask},
    "rotary in BNSD": {"npu_rotary_mul": refuses_large_bnsd},
    "more than 1,024 tokens to a router": {"npu_moe_gating_top_k_softmax": loses_tokens},
    "experts of a rank": {"npu_grouped_matmul": on_result(lambda rows: rows[:1].expand_as(rows))},
    "writes that write nothing": {"npu_scatter_nd_update_": writes_nothing},
    "float16 overflows": {"npu_rms_norm": in_half},
    "padding that is not finite": {OP: on_result(lambda out: out.index_fill(1, torch.tensor([0]), float("nan")))},
}


def entries_of(name, **stand_ins):
    report = next(report for report in REPORTED if report.name == name)
    entries = []
    report.work(At(sides(**stand_ins), "eager"), entries.append)
    return entries


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_that_does_what_was_reported_is_recognised(name):
    assert outcome_of(entries_of(name, **DEVICES[name])) == DIFFERS


def test_a_mask_that_is_ignored_past_512_is_seen_there_and_lengths_beside_it_are_timed():
    entries = {entry["call"]: entry for entry in entries_of("mask of one row", **DEVICES["mask of one row"])}
    wrong = {call for call, entry in entries.items() if entry["outcome"] == DIFFERS}
    assert wrong == {"mask, 513 positions", "mask, 1024 positions", "mask, 2048 positions"}
    both = entries["mask and lengths, 1024 positions, in a graph"]
    assert both["outcome"] == AGREES and both["ms"] > 0 and entries["mask, 1024 positions, in a graph"]["ms"] > 0


@pytest.mark.parametrize("report", REPORTED, ids=lambda report: report.name)
def test_a_right_device_does_nothing_of_it(report):
    if report.name in DEVICES or report.work is None:
        return
    entries = []
    report.work(At(sides(), "eager"), entries.append)
    assert entries and outcome_of(entries) in (AGREES, NOT_RUN)


def test_there_is_a_probe_for_every_report_which_says_whether_the_port_uses_the_form():
    probes = list(report_probes(calls_at("llama2"), LLAMA, At(sides(), "eager")))
    assert len(probes) == len(REPORTED) == 16
    assert all("This port" in probe.about for probe in probes)
    assert {probe.title for probe in probes if probe.work is None} == {"npu_mrope"}


def test_sums_in_place_are_found_in_the_text(tmp_path):
    file = tmp_path / "model.py"
    file.write_text("def f(x, y):\n    n = 0\n    n += 1\n    x += y * 2\n    x -= y\n    return x\n")
    assert list(augmented_sums(file)) == ["`x += y * 2` in line 4"]
    assert not list(augmented_sums(LLAMA))
