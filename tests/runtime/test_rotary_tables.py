"""Rotary tables: what the model's own module gives, looked up by compiled steps, and in eager on a CPU."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Gemma3TextConfig, LlamaConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from porter.runtime import tabulate_rotary

LENGTH = 48
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    "llama3": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
    },
}  # fmt: skip
CHANGING = {
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "longrope": {
        "rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
        "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
    },
}  # fmt: skip


class Host(torch.nn.Module):
    """What holds a rotary module, and has a parameter whose dtype is the model's."""

    def __init__(self, rotary, dtype=torch.float32):
        super().__init__()
        self.rotary_emb = rotary
        self.weight = torch.nn.Parameter(torch.ones(4, dtype=dtype), requires_grad=False)

    def forward(self, position_ids, *layer_type):
        return self.rotary_emb(self.weight, position_ids, *layer_type)


def llama(rope):
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=64, rope_parameters=rope)
    return LlamaRotaryEmbedding(config)


def positions():
    return torch.tensor([[0, 5, LENGTH - 1], [1, 0, 2]])


def same(found, expected):
    """A table is made for all positions at once, and a machine may take the cosine of a value in a long row another way
    than in a short one. Both are good to an ulp, of 2 where yarn scales them, and both are rounded to the dtype."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert (one.double() - other.double()).abs().max() <= 2 * torch.finfo(one.dtype).eps * other.abs().max()
    return True


class Graphs:
    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append(graph)
        return graph

    def ops(self):
        return {str(node.target) for graph in self.graphs for node in graph.graph.nodes if node.op == "call_function"}


def compiled(host):
    backend = Graphs()
    torch.compiler.reset()
    return torch.compile(host, fullgraph=True, backend=backend), backend


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rope", ROPES)
def test_tables_hold_what_the_module_gives(rope, dtype):
    expected = Host(llama(ROPES[rope]), dtype)(positions())
    host = Host(llama(ROPES[rope]), dtype)
    assert tabulate_rotary(host, LENGTH) == 1
    step, backend = compiled(host)
    found = step(positions())
    assert same(found, expected)
    assert found[0].dtype == dtype and any("embedding" in op for op in backend.ops())
    assert not any("cos" in op for op in backend.ops())


@torch.no_grad()
@pytest.mark.parametrize("rope", ROPES)
def test_eager_steps_on_a_cpu_look_up_too(rope, monkeypatch):
    expected, host = Host(llama(ROPES[rope]))(positions()), Host(llama(ROPES[rope]))
    tabulate_rotary(host, LENGTH)
    monkeypatch.setattr(host.rotary_emb.rotary, "forward", None)
    assert same(host(positions()), expected)
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(TypeError, match="NoneType"):
        host(torch.zeros(1, 3, dtype=torch.int64))  # a device would not check the bound: computed


@torch.no_grad()
@pytest.mark.parametrize("rope", CHANGING)
def test_frequencies_that_follow_the_positions_have_no_table(rope):
    host = Host(llama(CHANGING[rope]))
    assert tabulate_rotary(host, LENGTH) == 0
    assert type(host.rotary_emb) is LlamaRotaryEmbedding


@torch.no_grad()
def test_what_a_model_reads_of_its_rotary_module_is_there_with_tables_too():
    class Reads(Host):
        def forward(self, position_ids):
            theta = self.rotary_emb.config.rope_parameters["rope_theta"]
            return {theta: super().forward(position_ids)}[theta]

    plain, host = Reads(llama(ROPES["default"])), Reads(llama(ROPES["default"]))
    assert tabulate_rotary(host, LENGTH) == tabulate_rotary(host, 2 * LENGTH) == 1  # and not a table of tables
    step, backend = compiled(host)
    assert same(step(positions()), plain(positions()))
    assert not any("cos" in op for op in backend.ops())


@torch.no_grad()
def test_each_layer_type_has_its_own():
    kinds = ("full_attention", "sliding_attention")
    config = Gemma3TextConfig(hidden_size=64, num_attention_heads=4, head_dim=16, num_hidden_layers=6)
    plain, host = Host(Gemma3RotaryEmbedding(config)), Host(Gemma3RotaryEmbedding(config))
    assert tabulate_rotary(host, LENGTH) == 1
    step, backend = compiled(host)
    for kind in kinds:
        assert same(step(positions(), kind), plain(positions(), kind))
    assert not torch.equal(step(positions(), kinds[0])[0], step(positions(), kinds[1])[0])
    assert not any("cos" in op for op in backend.ops())


@torch.no_grad()
@pytest.mark.parametrize("case", ["eager, beyond the table", "positions of three kinds", "another dtype"])
def test_everything_else_is_computed(case):
    plain, host = Host(llama(ROPES["default"])), Host(llama(ROPES["default"]))
    tabulate_rotary(host, LENGTH)
    step, at = (host, positions() + LENGTH) if case.startswith("eager") else (compiled(host)[0], positions())
    if case == "positions of three kinds":
        at = at[None].expand(1, -1, -1)
    if case == "another dtype":
        for each in (plain, host):
            each.weight = torch.nn.Parameter(each.weight.bfloat16(), requires_grad=False)
    found = step(at)
    assert same(found, plain(at)) and found[0].dtype == plain.weight.dtype


@torch.no_grad()
def test_a_table_that_was_cast_is_not_looked_up():
    plain, host = Host(llama(ROPES["default"])), Host(llama(ROPES["default"]), torch.bfloat16)
    tabulate_rotary(host, LENGTH)
    host.float()
    assert torch.equal(host(positions())[0], plain(positions())[0])
    tabulate_rotary(host, LENGTH)
    host.rotary_emb.rotary.forward = None
    assert same(host(positions()), plain(positions()))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_positions_that_are_no_index_are_computed(dtype):
    plain, host = Host(llama(ROPES["default"])), Host(llama(ROPES["default"]))
    tabulate_rotary(host, LENGTH)
    assert torch.equal(host(positions().to(dtype))[0], plain(positions())[0])


@torch.no_grad()
def test_compiled_steps_look_up_only_what_they_were_promised():
    plain, host = Host(llama(ROPES["default"])), Host(llama(ROPES["default"]))
    tabulate_rotary(host, LENGTH, promised=False)
    step, backend = compiled(host)
    at = positions() + LENGTH
    assert same(step(at), plain(at))
    assert not any("embedding" in op for op in backend.ops())
    tabulate_rotary(host, LENGTH)
    step, backend = compiled(host)
    assert same(step(positions()), plain(positions()))
    assert any("embedding" in op for op in backend.ops())


@torch.no_grad()
def test_a_graph_keeps_its_table_when_a_longer_one_is_made():
    plain, host = Host(llama(ROPES["default"])), Host(llama(ROPES["default"]))
    tabulate_rotary(host, LENGTH)
    step, _ = compiled(host)
    first = step(positions())[0]
    assert tabulate_rotary(host, 2 * LENGTH) == 1 and tabulate_rotary(host, 2 * LENGTH) == 1
    assert torch.equal(step(positions())[0], first)
    longer, _ = compiled(host)
    at = positions() + LENGTH
    assert same(longer(at), plain(at))
    assert not host.state_dict().keys() - {"weight"}
