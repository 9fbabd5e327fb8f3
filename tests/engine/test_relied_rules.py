"""What the other rules rely on beside what they replace: one change, and the site is left with that reason."""

from __future__ import annotations

import pytest

from tests.engine.relied import MINE, change, left
from tests.engine.sources import port, rules_of, text_of, varied
from tests.engine.variations import ACTIVATION, NEXT_NORM, PRETRAINED, before, behind

WEIGHT = "        self.weight = nn.Parameter(torch.ones(hidden_size))\n"
TABLE = "from ...activations import ACT2FN\n"
NORM = '@use_kernel_forward_from_hub("RMSNorm")\nclass LlamaRMSNorm'
NORM_FORWARD = "    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:\n        input_dtype"


def at_the_end(text: str):
    return before(PRETRAINED, f"{MINE}{text}\n\n\n")


NORM_CHANGES = [
    change(
        "a weight that is set again", "is set here too", behind(WEIGHT, "        self.weight = mine(self.weight)\n")
    ),
    change("a function of torch", "torch.rsqrt = mine", at_the_end("torch.rsqrt = mine")),
    change("a forward set from outside", "LlamaRMSNorm.forward = mine", at_the_end("LlamaRMSNorm.forward = mine")),
    change(
        "a forward of its own decorator", "wraps the function", before(NORM_FORWARD, "    @mine\n"), before(NORM, MINE)
    ),
    change(
        "a forward that is bound twice",
        "is bound here too",
        before("    def extra_repr(self):\n        return f", "    forward = mine\n\n"),
        before(NORM, MINE),
    ),
    change("a class by its name", "more than once", at_the_end("LlamaRMSNorm = nn.RMSNorm")),
    change(
        "a hub mark of the file's own",
        "may make another class",
        before(NORM, "def use_kernel_forward_from_hub(name):\n    return mine\n\n\n"),
    ),
]


@pytest.mark.parametrize(("says", "pairs"), NORM_CHANGES)
def test_another_norm_keeps_its_rules_away(says, pairs):
    left("norm_rms_residual", says, *pairs)


MLP_CHANGES = [
    change("an entry of the activations", "ACT2FN", at_the_end('ACT2FN["silu"] = mine')),
    change("activations by another name", "handed on", at_the_end("install(ACT2FN)")),
    change("a linear of its own", "nn.Linear = mine", at_the_end("nn.Linear = mine")),
    change(
        "an activation that is set again",
        "outside what the rule rewrites",
        behind(ACTIVATION, "        self.act_fn = mine\n"),
    ),
]


@pytest.mark.parametrize(("says", "pairs"), MLP_CHANGES)
def test_another_mlp_keeps_its_rule_away(says, pairs):
    left("swiglu", says, *pairs)


@pytest.mark.parametrize(
    "pairs",
    [
        [(TABLE, 'ACT2FN = {"silu": nn.Sigmoid()}\n')],
        [(TABLE, "from ...other_activations import ACT2FN\n")],
        [("from torch import nn\n", "from torch.ao.nn import quantized as nn\n")],
    ],
    ids=["a table of the file's own", "a table of another module", "linears of another module"],
)
def test_another_activation_by_the_same_name_keeps_swiglu_away(pairs):
    assert "swiglu" not in rules_of(port(varied(*pairs)))


MEMBER_CHANGES = [
    change(
        "a norm set by the model",
        "a module that the rule relies on",
        behind(
            "        self.gradient_checkpointing = False\n",
            "        for layer in self.layers:\n            layer.post_attention_layernorm = nn.Identity()\n",
        ),
    ),
    change(
        "a norm set later",
        "a module that the rule relies on",
        behind(NEXT_NORM, "\n    def loosen(self):\n        self.post_attention_layernorm = nn.Identity()\n"),
    ),
]


@pytest.mark.parametrize(("says", "pairs"), MEMBER_CHANGES)
def test_a_norm_that_is_exchanged_keeps_the_fused_addition_away(says, pairs):
    left("add_norm", says, *pairs)


HEAD = "self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)\n"
EVERY_LOGIT = [
    ("    @can_return_tuple\n", ""),
    ("        logits_to_keep: int | torch.Tensor = 0,\n", ""),
    ("        hidden_states = slice_logits_to_keep(hidden_states, logits_to_keep)\n", ""),
]


def test_a_head_that_is_one_linear_gets_the_positions_asked_for():
    assert "logits_last" in rules_of(port(varied(*EVERY_LOGIT)))


@pytest.mark.parametrize(
    "pair",
    [
        (HEAD, "self.lm_head = nn.Conv1d(config.hidden_size, config.vocab_size, 3)\n"),
        (HEAD, "self.lm_head = Head(config)\n"),
        behind(HEAD, "        self.lm_head = self.wrap(self.lm_head)\n"),
    ],
    ids=["a convolution", "a class of its own", "wrapped afterwards"],
)
def test_another_head_gets_every_position(pair):
    assert "logits_last" not in rules_of(port(varied(*EVERY_LOGIT, pair)))


def test_llama_as_it_is_takes_these_rules():
    assert rules_of(port(text_of("llama"))) >= {"norm_rms_residual", "swiglu", "add_norm"}
