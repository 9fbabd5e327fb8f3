"""What a port asks of its ops: recorded by shape, at every edge, within the memory that there is."""

import pytest
import torch

from porter.accept.calls import calls_of
from porter.accept.configuration import sizes_of
from porter.accept.draws import NoDraw, draw
from porter.accept.plan import NotTaken, forms_used
from porter.npu.attention_contract import OP
from porter.verify.tiny import tiny_config
from tests.accept.conftest import calls_at, port_of


def attention(calls):
    return [call for call in calls if call.name == OP]


def test_the_edges_are_asked():
    found = {call.situation.name: call for call in attention(calls_at("llama2"))}
    assert set(found) == {
        *("prefill", "prefill, compiled", "prefill, left padding", "prefill, left padding, compiled"),
        *("prefill of one token", "decode", "decode, left padding", "decode, left padding, compiled"),
        *("decode into the last slot", "decode into the last slot, left padding"),
        "decode into the last slot, left padding, compiled",
    }
    last = found["decode into the last slot"]
    assert last.arguments["actual_seq_lengths_kv"] == [128, 128] and last.tensors[1].shape[1] == 128
    compiled = found["decode, left padding, compiled"].arguments
    assert compiled["actual_seq_lengths_kv"] is None and compiled["atten_mask"].shape == (2, 1, 1, 128)
    writes = [call for call in calls_at("llama2") if call.name == "scatter_update_"]
    assert {int(draw(call)["indices"][0]) for call in writes} == {0, 64, 127}


def test_a_mask_hides_the_future_and_the_padding_of_the_first_row():
    (call,) = [call for call in attention(calls_at("llama2")) if call.situation.name == "decode, left padding"]
    mask = draw(call)["atten_mask"]
    assert call.situation.padding == 21 and call.situation.past == 64
    assert mask[0, 0, 0].tolist() == [place < 21 or place > 64 for place in range(128)]
    assert mask[1, 0, 0].tolist() == [place > 64 for place in range(128)]
    (prefill,) = [call for call in attention(calls_at("llama2")) if call.situation.name == "prefill, left padding"]
    assert not draw(prefill)["atten_mask"].all(-1).any(), "a row that sees nothing is undefined on a device"


def test_sizes_are_those_of_the_configuration_and_of_one_rank():
    port = port_of("llama2")
    sizes = sizes_of(port.load_class().config_class, "llama-2-70b")
    assert sizes.dtypes == (torch.bfloat16, torch.float16)
    sizes.config.num_hidden_layers = 1
    whole = attention(calls_of(port.load_class(), sizes.config, torch.float16, 1 << 40))
    ranks = attention(calls_of(port.load_class(), sizes.config, torch.float16, 1 << 40, 8, port.split_points))
    assert whole[0].tensors[0].shape == (2, 2048, 64, 128) and ranks[0].tensors[0].shape == (2, 2048, 8, 128)
    assert whole[0].tensors[1].shape == (2, 4096, 8, 128) and whole[0].dtype == "float16"


def test_what_does_not_fit_is_made_smaller_or_not_made_and_says_so():
    port = port_of("llama2")
    sizes = sizes_of(port.load_class().config_class, "llama-2-7b")
    sizes.config.num_hidden_layers = 1
    memory = 1 << 28
    calls = calls_of(port.load_class(), sizes.config, torch.bfloat16, memory)
    prefill = attention(calls)[0]
    assert "made smaller to fit into 0.2 GiB" in prefill.shrunk and prefill.situation.queries < 2048
    assert prefill.tensors[0].shape[2:] == (32, 128), "heads stay"
    assert all(call.needs <= memory for call in calls if not call.too_large)
    none = [call for call in calls_of(port.load_class(), sizes.config, torch.bfloat16, 1 << 16) if call.too_large]
    assert none and "GiB is there" in none[0].too_large


def test_an_op_that_nobody_has_values_for_is_not_run(monkeypatch):
    (call, *_) = [call for call in calls_at("llama2") if call.name == "scatter_update_"]
    monkeypatch.setattr("porter.accept.draws._DRAWS", {})
    with pytest.raises(NoDraw, match="no values are known for `indices` of scatter_update_"):
        draw(call)


def test_a_port_is_warned_of_the_forms_it_uses_and_no_other():
    port = port_of("llama2")
    (warning,) = forms_used(port, sizes_of(port.load_class().config_class, "llama-2-7b"))
    assert warning.startswith("mask of one row") and "decode, left padding" in warning
    small = tiny_config(port.load_class().config_class)
    found = sizes_of(port.load_class().config_class, "llama-2-7b")
    short = type(found)("short", small, found.dtypes)
    assert forms_used(port, short) == (), "its cache ends before the position that the report names"
    mixed = port_of("mixtral")
    routed = type(found)("tiny", tiny_config(mixed.load_class().config_class), found.dtypes)
    names = [line.partition(":")[0] for line in forms_used(mixed, routed)]
    assert "active_num of a shape" in names and "x += y in a graph" in names


def test_ranks_that_do_not_divide_are_refused():
    port = port_of("llama2")
    with pytest.raises(NotTaken, match=r"llama-2-7b.*not"):
        forms_used(port, sizes_of(port.load_class().config_class, "llama-2-7b"), tp=5)
