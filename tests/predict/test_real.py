"""Ports at real sizes: bytes and multiply-adds against formulas of the models themselves, and what grows with what."""

import json
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.predict.asked import ask
from porter.predict.chips import CHIPS
from porter.predict.kernels import ALL_REDUCE
from porter.predict.predict import asked_of, memory_of, prediction_of
from porter.predict.steps import kernels_by_phase, steps_of
from porter.predict.workload import Workload
from porter.verify.contract import shipped_configs
from porter.verify.port import open_port
from tests.lowering.conftest import LLAMA, need_wheel
from tests.predict.lower_published import HERE, asked_of_row, kernels_of_row, listed, write_ports

CHIP = CHIPS["Ascend910B3"]
LLAMA_7B = json.loads(shipped_configs()["llama-2-7b"].read_text())
MIXTRAL = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
ONE, TWO, FOUR = Workload(1, 512, 512), Workload(1, 1024, 1024, 2), Workload(4, 512, 512)
ASKED = {
    "one": ("llama2", LLAMA_7B, ONE),
    "two cards": ("llama2", LLAMA_7B, TWO),
    "experts": ("mixtral", MIXTRAL, FOUR),
}
ROW = 25  # of published.json: Atom-7B, batch 1, one card
# a layer of Llama-2-7B: q, k, v, o and gate, up, down
LAYER = 4 * 4096 * 4096 + 3 * 4096 * 11008
HEAD = 32000 * 4096
LAYERS = 32


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    need_wheel()
    ports = {name: open_port(Path(LLAMA).parent / name) for name in ("llama2", "mixtral")}
    asked = [asked_of(ports[name], workload, config) for name, config, workload in ASKED.values()]
    published = json.loads((HERE / "published.json").read_text())
    model = published["rows"][ROW]["model"]
    ported = {(published["models"][model]["family"], "qkv"): tmp_path_factory.mktemp("ported") / "llama"}
    write_ports(ported)
    asked.append(asked_of_row(published["rows"][ROW], published, ported))
    made = ask(asked, CHIP.name, lambda *step: None)
    assert not isinstance(made, Refused), made
    assert [each["failure"] for each in made] == [""] * len(made)
    return dict(zip((*ASKED, "published"), made, strict=True))


def kernels(answers, called, phase):
    return kernels_by_phase(answers[called], ASKED[called][2])[phase]


def total(found, what, *kinds):
    return sum(count * getattr(kernel, what) for kernel, count in found.items() if kernel.kind.startswith(kinds))


def test_a_decode_step_reads_every_weight_but_the_embedding_once(answers):
    found = kernels(answers, "one", "decode")
    read = 2 * (LAYERS * LAYER + HEAD)
    assert read == pytest.approx(2 * 6.74e9, rel=0.03), "all of 6.74e9 parameters but the embedding"
    assert total(found, "bytes", "MatMul") == pytest.approx(read, rel=1e-3)
    assert total(found, "bytes", "MatMul") > read


def test_a_decode_step_reads_the_whole_static_cache(answers):
    cache = 2 * 2 * LAYERS * ONE.slots * 4096  # keys and values, two bytes
    assert total(kernels(answers, "one", "decode"), "bytes", "FusedInfer") == pytest.approx(cache, rel=5e-3)
    twice_as_long = total(kernels(answers, "two cards", "decode"), "bytes", "FusedInfer")
    assert twice_as_long == pytest.approx(2 * cache / TWO.tp, rel=5e-3)


def test_multiply_adds_of_both_steps(answers):
    for called, tokens, ranks in (("one", 512, 1), ("two cards", 1024, 2)):
        products = 2 * (tokens * LAYERS * LAYER + HEAD) // ranks  # logits of the last position alone
        assert total(kernels(answers, called, "prefill"), "flops", "MatMul") == products
        assert total(kernels(answers, called, "decode"), "flops", "MatMul") == 2 * (LAYERS * LAYER + HEAD) // ranks
        workload = ASKED[called][2]
        attention = 2 * 2 * LAYERS * tokens * workload.slots * 4096 // ranks  # a mask skips nothing
        assert total(kernels(answers, called, "prefill"), "flops", "FusedInfer") == attention


def test_a_layer_is_thirteen_kernels(answers):
    found = kernels(answers, "one", "decode")
    per_layer = {"MatMul": 4, "AddRmsNorm": 2, "RotaryMul": 2, "Scatter": 2, "SplitV": 1, "SwiGlu": 1, "FusedInfer": 1}
    assert sum(per_layer.values()) == 13
    for kind, count in per_layer.items():
        there = sum(calls for kernel, calls in found.items() if kernel.kind.startswith(kind))
        assert there == LAYERS * count + (kind == "MatMul")


def test_what_a_card_holds(answers):
    parameters = LAYERS * (LAYER + 2 * 4096) + 2 * HEAD + 4096
    assert parameters == 6_738_415_616
    found = memory_of(answers["one"], ONE, CHIP)
    assert found.weights == 2 * parameters
    assert found.cache == pytest.approx(2 * 2 * LAYERS * ONE.slots * 4096, rel=1e-3)
    shared = memory_of(answers["two cards"], TWO, CHIP)
    norms = LAYERS * 2 * 4096 + 4096
    assert shared.weights == LAYERS * LAYER + HEAD + 2 * (HEAD + norms), "layers and head in two, the embedding whole"
    assert shared.cache == pytest.approx(found.cache, rel=1e-3), "twice as many slots, half of the heads"


def test_two_cards_read_half_each_and_sum_twice_a_layer(answers):
    found = kernels(answers, "two cards", "decode")
    assert total(found, "bytes", "MatMul") == pytest.approx(LAYERS * LAYER + HEAD, rel=1e-3)
    sums = {kernel.summed: count for kernel, count in found.items() if kernel.kind == ALL_REDUCE}
    assert sums == {4096 * 2: 2 * LAYERS, 32000 * 2: 1}
    prefill = kernels(answers, "two cards", "prefill")
    assert total(prefill, "summed", ALL_REDUCE) == 2 * LAYERS * 1024 * 4096 * 2 + 32000 * 2
    assert not total(kernels(answers, "one", "decode"), "summed", "")


def test_a_second_card_makes_decode_faster_and_a_longer_prompt_prefill_slower(answers):
    one, two = (steps_of(answers[called], ASKED[called][2], CHIP) for called in ("one", "two cards"))
    assert two["decode"].milliseconds < one["decode"].milliseconds
    assert two["prefill"].milliseconds > one["prefill"].milliseconds, "as many products a card, and sums over a link"


def test_a_faster_chip_takes_less_time(answers):
    slow, fast = (steps_of(answers["one"], ONE, CHIPS[name]) for name in ("Ascend910B4", "Ascend910B1"))
    assert fast["prefill"].milliseconds < slow["prefill"].milliseconds
    assert fast["decode"].milliseconds < slow["decode"].milliseconds


def test_a_decode_step_reads_the_experts_that_tokens_choose(answers):
    found, tokens = kernels(answers, "experts", "decode"), 4
    expert = 3 * 4096 * 14336 * 2
    touched = 8 * (1 - (6 / 8) ** tokens)  # 2 of 8 for each token
    assert 5 < touched < 6
    assert total(found, "bytes", "GroupedMatmul") == pytest.approx(LAYERS * touched * expert, rel=2e-3)
    assert total(found, "flops", "GroupedMatmul") == LAYERS * tokens * 2 * 2 * 3 * 4096 * 14336


def test_all_experts_are_held(answers):
    layer = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 8 * 4096 + 8 * 3 * 4096 * 14336 + 2 * 4096
    parameters = 32 * layer + 2 * 32000 * 4096 + 4096
    assert parameters == 46_702_792_704
    assert memory_of(answers["experts"], FOUR, CHIP).weights == 2 * parameters


def test_a_model_that_does_not_fit_is_refused_with_what_is_needed(answers):
    (fault,) = prediction_of("mixtral", "", "float16", FOUR, CHIP, answers["experts"]).diagnostics
    assert fault.code == "P120"
    assert "87.5 GiB are needed, Ascend910B3 has 64.0 GiB" in fault.message
    found = prediction_of("llama2", "", "float16", ONE, CHIP, answers["one"])
    assert found.layers == LAYERS
    assert found.tokens_a_second == pytest.approx(1e3 / found.decode.milliseconds)


def test_the_recorded_kernels_of_a_published_row_are_those_of_today(answers):
    row = json.loads((HERE / "published.json").read_text())["rows"][ROW]
    assert (row["model"], row["step"], row["cards"]) == ("atom-7b", "qkv", 1)
    made = kernels_of_row(row, answers["published"])
    recorded = json.loads((HERE / "kernels.json").read_text())[ROW]
    assert {phase: listed(kernels) for phase, kernels in made.items()} == recorded
