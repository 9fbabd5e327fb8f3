"""The bench: turns, ratios, and the same tokens before any figure."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import porter.cli
from porter.bench import generation
from porter.bench.bandwidth import bytes_of_a_step, copy_bandwidth
from porter.bench.generation import Comparison, Shape, compare
from porter.bench.timing import Ratio, in_turns
from porter.runner import CannotRun
from porter.runtime import NpuPreTrainedModel, products
from porter.runtime.registry import default_root
from porter.runtime.rotary import TabledRotary
from porter.verify.port import open_port

SMALL = Shape("a toy", 64, 2, 4, 2, prompt=8, steps=6)
LLAMA = default_root() / "llama2"


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_port_and_source_take_turns_and_either_begins():
    said, times = [], iter([8.0, 2.0, 6.0, 3.0, 1.0, 4.0, 9.0, 3.0])

    def run(name):
        said.append(name)
        return {"decode": next(times)}

    (ratio,) = in_turns(lambda: run("port"), lambda: run("source"), 3)
    assert said == ["port", "source", "port", "source", "source", "port", "port", "source"]
    assert ratio.ratios == (2.0, 4.0, 3.0) and ratio.ratio == 3.0 and ratio.spread == (2.0, 4.0)
    assert (ratio.port_ms, ratio.source_ms) == (6.0, 3.0)


def test_a_turn_of_quick_runs_is_several_and_their_median(monkeypatch):
    times = iter([1.0, 1.0, 2.0, 9.0, 3.0, 1.0, 1.0, 4.0])
    monkeypatch.setattr("porter.bench.timing.time", SimpleNamespace(perf_counter=iter([0.0, 0.04]).__next__))

    def run():
        return {"decode": next(times)}

    (ratio,) = in_turns(run, run, 1, seconds=0.05)
    assert ratio.ratios == (3.0,) and (ratio.port_ms, ratio.source_ms) == (3.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_both_phases_are_measured(mode, dtype):
    shape = Shape("a toy", 64, 2, 4, 2, batch=2, prompt=8, steps=6, dtype=dtype)
    (found,) = compare(open_port(LLAMA), (shape,), (mode,), rounds=2, backend="eager")
    assert found.mode == mode and [ratio.phase for ratio in found.ratios] == ["prefill", "decode"]
    for ratio in found.ratios:
        assert isinstance(ratio, Ratio) and len(ratio.ratios) == 2 and ratio.port_ms > 0 and ratio.source_ms > 0


def test_a_port_is_timed_as_its_runner_has_it(monkeypatch):
    models, asked, generate = [], [], generation._generate
    drawn = generation._models
    monkeypatch.setattr(generation, "_models", lambda *of: models.append(drawn(*of)) or models[-1])
    monkeypatch.setattr(products, "_LARGE", 1)
    monkeypatch.setattr(products, "ROWS", 8)

    def noted(model, shape, **options):
        asked.append((isinstance(model, NpuPreTrainedModel), options.get("past_key_values")))
        return generate(model, shape, **options)

    monkeypatch.setattr(generation, "_generate", noted)
    list(compare(open_port(LLAMA), (SMALL,), ("eager",), rounds=1))
    (ours, theirs), caches = models[0], {id(cache) for ported, cache in asked if ported}
    assert len(caches) == 1 and all((cache is not None) == ported for ported, cache in asked)
    for kind in (TabledRotary, products.BlockedLinear):
        assert any(isinstance(module, kind) for module in ours.modules())
        assert not any(isinstance(module, kind) for module in theirs.modules())


def test_a_port_with_its_source_s_cache_is_timed_in_eager_only(tmp_path, capfd):
    kept = ["--keep", "Gemma2Attention.forward"]
    asked = ["convert", "transformers.models.gemma2", *kept, "--out", str(tmp_path / "gemma2")]
    assert porter.cli.exit_code(asked) == 0
    port = open_port(tmp_path / "gemma2")
    shape = Shape("a toy", 64, 2, 4, 4, prompt=8, steps=4)
    (found,) = compare(port, (shape,), rounds=1)
    assert found.mode == "eager" and all(ratio.port_ms > 0 for ratio in found.ratios)
    with pytest.raises(CannotRun, match="KV cache, which grows"):
        list(compare(port, (shape,), ("compiled",), rounds=1))


def test_other_tokens_are_no_figure(monkeypatch):
    models = generation._models

    def spoilt(port, shape, device):
        ours, theirs = models(port, shape, device)
        with torch.no_grad():
            ours.lm_head.weight.add_(torch.randn_like(ours.lm_head.weight))
        return ours, theirs

    monkeypatch.setattr(generation, "_models", spoilt)
    with pytest.raises(RuntimeError, match="other tokens"):
        list(compare(open_port(LLAMA), (SMALL,), ("eager",), rounds=1))


def test_the_command(monkeypatch, capfd):
    monkeypatch.setattr(generation, "SHAPES", (SMALL,))
    words = ["bench", "llama2", "--mode", "eager", "--rounds", "1"]
    assert porter.cli.exit_code(words) == 0
    out, err = capfd.readouterr()
    assert "a toy, float32, batch 1, prompt 8" in out and "ratio" in out and out.endswith("kernel: not run\n")
    assert "done" in err
    assert porter.cli.exit_code([*words, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [row["phase"] for row in document["comparisons"]] == ["prefill", "decode"]
    prefill, decode = document["comparisons"]
    assert prefill["ratio"] > 0 and prefill["bandwidth_share"] is None and decode["bandwidth_share"] > 0
    assert porter.cli.exit_code([*words, "--models", str(LLAMA.parent), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == "llama2"
    for missing, code in (("nowhere", "P080"), ("no/where", "P080")):
        assert porter.cli.exit_code(["bench", missing]) == 1
        assert f"error[{code}]" in capfd.readouterr().err
    assert porter.cli.exit_code(["bench", "llama2", "--device", "gpu"]) == 1
    assert "error[P088]: no device `gpu`" in capfd.readouterr().err
    assert porter.cli.exit_code(["bench", "llama2", "--quick", "--large"]) == 2


@pytest.mark.parametrize("tied", [False, True])
def test_a_step_reads_each_weight_once_and_the_cache(tied):
    config = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=100, tie_word_embeddings=tied,
    )  # fmt: skip
    layer = 32 * (32 + 16 + 16) + 32 * 32 + 3 * 32 * 48 + 2 * 32
    weights = 2 * layer + 32 + 100 * 32 + (0 if tied else 3 * 32)  # norm, head, three rows of the table
    cache = 3 * 50 * 2 * 2 * 2 * 8  # sequences, positions, layers, K and V, heads, head_dim
    shape = Shape("a toy", 32, 2, 4, 2)
    assert bytes_of_a_step(LlamaForCausalLM(config), 3, 50, shape.kv_size) == 4 * (weights + cache)


def test_the_share_of_the_bandwidth():
    assert Comparison(SMALL, "eager", (), 3_000_000, 2e9).bandwidth_share(2.0) == pytest.approx(0.75)
    assert copy_bandwidth(torch.device("cpu"), 1 << 20) > 0
