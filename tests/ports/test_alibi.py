"""Decoders with ALiBi compute what their source does: heads of every count, padding, chunks, a long way into a cache."""

from __future__ import annotations

import pytest
import torch

from porter.diagnostics import Refused
from porter.emit import emit
from porter.npu import ContractError
from porter.verify.pair import Pair, load, write_checkpoint
from porter.verify.port import Port, open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import convert_text, port_of, text_of

KERNEL = "torch_npu.npu_fused_infer_attention_score("
HEADS = {"bloom": "n_head", "mpt": "n_heads"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alibi")
    for model in HEADS:
        emit(port_of(model), folder / model)
    opened = {model: open_to_compare(folder / model) for model in HEADS}
    assert all(isinstance(port, Port) for port in opened.values())
    return opened


def pair_of(port, folder, **changes) -> Pair:
    source, ported = port.load_source_class(), port.load_class()
    config = tiny_config(source.config_class, **changes)
    write_checkpoint(source, config, folder / "checkpoint")
    return Pair(load(source, folder / "checkpoint"), load(ported, folder / "checkpoint"), config, folder)


@pytest.mark.parametrize("heads", [1, 3, 4, 6])
@pytest.mark.parametrize("model", HEADS)
def test_heads_of_every_count_fall_by_the_slopes_of_the_source(ports, model, heads, tmp_path):
    changes = {HEADS[model]: heads, "hidden_size": 16 * heads, "num_hidden_layers": 2}
    pair = pair_of(ports[model], tmp_path, **changes)
    one, other = pair.both(lambda model: model(**pair.padded((40, 4, 9))).logits[:, -1])
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    asked = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    one, other = pair.both(lambda model: model.generate(**pair.padded((40, 4, 9)), **asked))
    assert torch.equal(one, other)


@pytest.mark.parametrize("model", HEADS)
def test_the_shift_of_the_source_is_no_shift_of_the_port(ports, model):
    """Handed to a layer as the source hands it, it is an error, not a shift of something else."""
    ported = ports[model].load_class()
    built = ported(tiny_config(ported.config_class)).eval()
    layers = built.transformer.h if model == "bloom" else built.transformer.blocks
    with torch.no_grad(), pytest.raises(ContractError, match="pse_shift"):
        layers[0](torch.zeros(1, 3, built.config.hidden_size), torch.zeros(4, 1, 3), None)


def test_more_tokens_than_the_table_is_for_are_an_error_in_the_port_as_in_the_source(ports, tmp_path):
    pair = pair_of(ports["mpt"], tmp_path, max_seq_len=16)
    for built in (pair.source, pair.port):
        with torch.no_grad(), pytest.raises((ValueError, RuntimeError)):
            built(input_ids=torch.ones(1, 17, dtype=torch.long))


CASES = [
    ("bloom", "            beta=self.beta,\n", "            beta=-self.beta,\n"),
    ("bloom", "        self.beta = 1.0\n", "        self.beta = 0.5\n"),
    ("bloom", "alpha=self.inv_norm_factor,", "alpha=self.head_dim,"),
    ("bloom", "self.num_heads, 3, self.head_dim)", "3, self.num_heads, self.head_dim)"),
    ("bloom", "(attention_mask.cumsum(dim=-1) - 1)", "(attention_mask.cumsum(dim=-1) ** 2)"),
    ("bloom", "alibi = slopes[:, None, None] * torch", "alibi = slopes[:, None, None].sqrt() * torch"),
    ("bloom", "powers = torch.arange(1, 1 + closest", "powers = torch.arange(0, 0 + closest"),
    ("mpt", "            attention_scores = attention_scores + position_bias\n", "            pass\n"),
    ("mpt", "masked_fill(attention_mask, torch", "masked_fill(~attention_mask, torch"),
    ("mpt", "self.config.max_seq_len, device=hidden", "self.config.max_seq_len, 4, device=hidden"),
    ("mpt", "        ).to(torch.bool)\n", "        ).to(torch.bool).logical_not()\n"),
    ("mpt", "slopes = 1.0 / torch.pow(2, base)", "slopes = 2.0 / torch.pow(2, base)"),
]


@pytest.mark.parametrize(("model", "old", "new"), CASES, ids=[f"{model} {new.strip()[:40]}" for model, _, new in CASES])
def test_another_computation_keeps_its_attention(model, old, new):
    text = text_of(model)
    assert old in text
    outcome = convert_text(text.replace(old, new), model=model)
    assert isinstance(outcome, Refused) or KERNEL not in outcome.code
