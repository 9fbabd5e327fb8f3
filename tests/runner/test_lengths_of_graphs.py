"""Lengths given to the attention of captured steps: by which tensor, to which calls, and that nothing else changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from transformers import CONFIG_MAPPING

from porter.npu import torch_npu
from porter.npu.attention import npu_fused_infer_attention_score
from porter.runner import lengths
from porter.runtime import StaticKVCache
from porter.verify.port import open_port
from porter.verify.tiny import tiny_config

LLAMA = Path(__file__).parents[2] / "generated_models" / "llama2"
SLOTS, PROMPT = 32, 7
PLAIN, TOLD = "npu.npu_fused_infer_attention_score.default", "air.npu_fused_infer_attention_score.default"


@pytest.fixture
def told(monkeypatch):
    """TorchAir's op as its schema has it, of one's own name for this process, on porter's kernel."""
    taken = []

    def attention(query, key, value, *, actual_seq_lengths_kv=None, **options):
        taken.append(actual_seq_lengths_kv.tolist())
        return npu_fused_infer_attention_score(query, key, value, actual_seq_lengths_kv=taken[-1], **options)

    library = torch.library.Library("air", "FRAGMENT")
    schema = str(torch.ops.npu.npu_fused_infer_attention_score.default._schema).removeprefix("npu::")
    library.define(schema.replace("SymInt[]?", "Tensor?"))
    library.impl("npu_fused_infer_attention_score", attention, "CPU")
    op = torch.ops.air.npu_fused_infer_attention_score.default
    monkeypatch.setattr(lengths, "attention_with_lengths", lambda: op)
    yield taken
    library._destroy()


class Passed:
    """A backend: the graph as it is captured, before and after the pass."""

    def __init__(self):
        self.before, self.after = [], []

    def __call__(self, graph, inputs):
        return aot_autograd(fw_compiler=self._compile)(graph, inputs)

    def _compile(self, module, inputs):
        self.before.append([str(node.target) for node in module.graph.nodes])
        lengths.pass_lengths(module)
        self.after.append([str(node.target) for node in module.graph.nodes])
        return module.forward


def attention(graph):
    return [target for target in graph if target in (PLAIN, TOLD)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = tiny_config(CONFIG_MAPPING["llama"], num_hidden_layers=3)
    return open_port(LLAMA).load_class()._from_config(config).eval()


def step(model, cache, start, count, backend=None, dynamic=False):
    torch._dynamo.reset()
    ids = torch.arange(3, 3 + count).expand(2, count).contiguous()
    mask = torch.ones(2, SLOTS, dtype=torch.int64)
    mask[1, :2] = 0
    positions = torch.arange(start, start + count).expand(2, count).contiguous()
    if dynamic:
        for tensor in (ids, positions):
            torch._dynamo.mark_dynamic(tensor, 1)
    run = model if backend is None else torch.compile(model, backend=backend, fullgraph=True, dynamic=dynamic or False)
    with torch.no_grad():
        return run(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache).logits


@pytest.mark.parametrize("dynamic", [False, True], ids=["one length", "every length"])
def test_every_attention_of_a_step_reads_up_to_what_the_step_wrote(model, told, dynamic):
    eager, compiled = StaticKVCache(model.config, SLOTS), StaticKVCache(model.config, SLOTS)
    compiled.early_initialization(2, *model_sizes(model), torch.float32, "cpu")
    backend = Passed()
    for start, count in ((0, PROMPT), (PROMPT, 1), (PROMPT + 1, 1)):
        expected = step(model, eager, start, count)
        compiled.reserve(count)
        told.clear()
        found = step(model, compiled, start, count, backend, dynamic and count > 1)
        assert told == [[start + count] * 2] * 3
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert compiled.get_seq_length() == start + count
    for before, after in zip(backend.before, backend.after, strict=True):
        assert attention(before) == [PLAIN] * 3 and attention(after) == [TOLD] * 3
        assert len(after) == len(before), "the positions that the step leaves behind are the lengths"


def model_sizes(model):
    config = model.config
    return config.num_key_value_heads, config.head_dim


def captured(function, *inputs):
    backend = Passed()
    torch._dynamo.reset()
    found = torch.compile(function, backend=backend, fullgraph=True)(*inputs)
    return found, backend


def attend(query, keys, mask=None):
    heads = {"num_heads": query.shape[2], "num_key_value_heads": keys.shape[2]}
    return torch_npu.npu_fused_infer_attention_score(
        query, keys, keys, atten_mask=mask, input_layout="BSND", scale=0.5, **heads
    )[0]


def states(length, seed):
    return torch.randn(2, length, 2, 16, generator=torch.Generator().manual_seed(seed))


MEMORY, POSITIONS = torch.zeros(2, SLOTS, 2, 16), torch.tensor([5, 5])
MASK = (torch.arange(SLOTS) > 5).expand(2, 1, 1, SLOTS).contiguous()


def written(memory, positions, new):
    return torch_npu.scatter_update(memory, positions, new, 1)


def test_keys_projected_out_of_a_cache_count_and_another_step_does_not_take_part(told):
    def latent(query, memory, positions, new, weight):
        keys = written(memory, positions, new) @ weight
        return attend(query, torch.nn.functional.pad(keys, (0, 8)), MASK)

    weight = torch.randn(16, 8, generator=torch.Generator().manual_seed(3))
    inputs = (states(1, 0), MEMORY, POSITIONS, states(1, 1), weight)
    found, backend = captured(latent, *inputs)
    assert attention(backend.after[0]) == [TOLD] and told == [[6, 6]]
    torch.testing.assert_close(found, latent(*inputs))


def beside_the_cache(query, memory, positions, new):
    """Keys of the cache and, behind them, keys of this step that are in no cache."""
    return attend(query, torch.cat((written(memory, positions, new), new), dim=1))


def without_a_cache(query, memory, positions, new):
    return attend(query, new + query)


def of_two_ends(query, memory, positions, new):
    first, second = written(memory, positions, new), written(memory, positions + 1, new)
    return attend(query, first + second, MASK)


def cut(query, memory, positions, new):
    return attend(query, written(memory, positions, new)[:, 2:].contiguous(), MASK[..., 2:])


def with_its_own_lengths(query, memory, positions, new):
    keys = written(memory, positions, new)
    return torch_npu.npu_fused_infer_attention_score(
        query, keys, keys, num_heads=2, input_layout="BSND", actual_seq_lengths_kv=[3, 6]
    )[0]


@pytest.mark.parametrize(
    "function", [beside_the_cache, without_a_cache, of_two_ends, cut, with_its_own_lengths], ids=lambda f: f.__name__
)
def test_what_is_not_clearly_a_cache_written_in_this_step_stays_as_it_is(told, function):
    inputs = (states(1, 0), MEMORY, POSITIONS, states(1, 1))
    found, backend = captured(function, *inputs)
    assert backend.after == backend.before and not told
    torch.testing.assert_close(found, function(*inputs))


def test_a_graph_that_has_no_such_tensor_gets_one_for_all_its_attention(told):
    def twice(query, memory, positions, new):
        keys = written(memory, positions, new)
        return attend(attend(query, keys, MASK), keys, MASK)

    inputs = (states(1, 0), MEMORY, POSITIONS, states(1, 1))
    found, backend = captured(twice, *inputs)
    assert told == [[6, 6], [6, 6]]
    assert backend.after[0].count("aten.add.Tensor") == 1 == len(backend.after[0]) - len(backend.before[0])
    torch.testing.assert_close(found, twice(*inputs))


def test_the_op_is_torchairs(monkeypatch):
    imported = []
    monkeypatch.setattr(lengths.importlib, "import_module", imported.append)
    op = SimpleNamespace(default="the op")
    monkeypatch.setattr(torch.ops, "air", SimpleNamespace(npu_fused_infer_attention_score=op), raising=False)
    assert lengths.attention_with_lengths() == "the op"
    assert imported == ["torchair.ops._npu_fused_infer_attention_score"]
