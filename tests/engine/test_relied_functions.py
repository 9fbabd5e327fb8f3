"""Functions that attention relies on, by their bodies: one change, and the site is left with that reason."""

from __future__ import annotations

import pytest

from tests.engine.relied import (
    ATTENTION,
    DROPOUT,
    EAGER,
    EXPANDED,
    MASKED,
    MINE,
    REPEAT,
    ROTATED,
    SCORES,
    SOFTMAX,
    change,
    left,
)
from tests.engine.variations import PRETRAINED, before, behind

EAGER_CHANGES = [
    change("a soft cap", "tanh", behind(SCORES, "    attn_weights = torch.tanh(attn_weights / 50.0) * 50.0\n")),
    change("a soft cap in the product", "50", (SCORES, SCORES.replace("* scaling", "* scaling / 50.0"))),
    change("another scale", "module.scaling", (SCORES, SCORES.replace("* scaling", "* module.scaling"))),
    change("the root of the scale", "scaling", (SCORES, SCORES.replace("* scaling", "* scaling**0.5"))),
    change("divided by the scale", "scaling", (SCORES, SCORES.replace("* scaling", "/ scaling"))),
    change("no scale", "torch.matmul", (SCORES, SCORES.replace(" * scaling", ""))),
    change("another axis", "transpose", (SCORES, SCORES.replace("(2, 3)", "(3, 2)"))),
    change("an additive bias", "module.bias", behind(SCORES, "    attn_weights = attn_weights + module.bias\n")),
    change("a mask that is taken away", "attention_mask", (MASKED, MASKED.replace("+", "-"))),
    change("a mask twice", "attention_mask", (MASKED, MASKED + MASKED)),
    change(
        "a mask filled in",
        "masked_fill",
        (MASKED, "        attn_weights = attn_weights.masked_fill(attention_mask < 0, -1e4)\n"),
    ),
    change(
        "a mask only in training",
        "if",
        ("    if attention_mask is not None:\n", "    if attention_mask is not None and module.training:\n"),
    ),
    change("no mask", "softmax", ("    if attention_mask is not None:\n" + MASKED, "")),
    change(
        "a softmax off by one",
        "softmax",
        (
            SOFTMAX,
            "    weights = attn_weights.exp()\n    attn_weights = weights / (1 + weights.sum(-1, keepdim=True))\n",
        ),
    ),
    change("softmax over queries", "2", (SOFTMAX, SOFTMAX.replace("dim=-1", "dim=-2"))),
    change("softmax in half", "float16", (SOFTMAX, SOFTMAX.replace("float32", "float16"))),
    change(
        "softmax of the file's own",
        "softmax",
        before(EAGER, "def softmax(x, **kwargs):\n    return x\n\n\n"),
        (SOFTMAX, SOFTMAX.replace("nn.functional.softmax", "softmax")),
    ),
    change("log softmax", "log_softmax", (SOFTMAX, SOFTMAX.replace("softmax", "log_softmax"))),
    change("a sink", "sinks", behind(SCORES, "    attn_weights = torch.cat([attn_weights, module.sinks], dim=-1)\n")),
    change("dropout in eval", "True", (DROPOUT, DROPOUT.replace("module.training", "True"))),
    change("dropout of a fixed share", "0.1", (DROPOUT, DROPOUT.replace("p=dropout", "p=0.1"))),
    change(
        "values that are normed", "norm", before(DROPOUT, "    value_states = nn.functional.normalize(value_states)\n")
    ),
    change("keys and values exchanged", "value", ("repeat_kv(key, module", "repeat_kv(value, module")),
    change(
        "an output that is scaled",
        "2",
        (
            "    attn_output = torch.matmul(attn_weights, value_states)\n",
            "    attn_output = torch.matmul(attn_weights, value_states) * 2\n",
        ),
    ),
    change(
        "parameters in another order",
        "query",
        ("    query: torch.Tensor,\n    key: torch.Tensor,\n", "    key: torch.Tensor,\n    query: torch.Tensor,\n"),
    ),
    change("a decorator of its own", "wraps it", before(EAGER, "@torch.compiler.disable\n")),
    change(
        "defined twice",
        "more than once",
        before(
            PRETRAINED, "def eager_attention_forward(module, query, *args, **kwargs):\n    return query, None\n\n\n"
        ),
    ),
    change("assigned again", "more than once", before(PRETRAINED, MINE + "eager_attention_forward = mine\n\n\n")),
    change(
        "assigned again under a condition",
        "more than once",
        before(PRETRAINED, MINE + "if torch.cuda.is_available():\n    eager_attention_forward = mine\n\n\n"),
    ),
    change(
        "assigned by a function",
        "more than once",
        before(
            PRETRAINED,
            MINE + "def install():\n    global eager_attention_forward\n    eager_attention_forward = mine\n\n\n",
        ),
    ),
    change(
        "another repetition",
        "tile",
        (
            "    hidden_states = hidden_states[:, :, None, :, :]" + EXPANDED + "\n",
            "    hidden_states = hidden_states.tile(1, n_rep, 1, 1)\n",
        ),
    ),
    change(
        "heads interleaved",
        "hidden_states[:, None]",
        ("hidden_states[:, :, None, :, :]" + EXPANDED, "hidden_states[:, None]" + EXPANDED),
    ),
    change(
        "a repetition that scales",
        "0.5",
        (
            "        return hidden_states\n    hidden_states = hidden_states[",
            "        return hidden_states\n    hidden_states = 0.5 * hidden_states[",
        ),
    ),
    change("repeat_kv with its parameters turned", "hidden_states", (REPEAT, "def repeat_kv(n_rep, hidden_states):\n")),
    change("repeat_kv assigned again", "more than once", before(EAGER, "repeat_kv = torch.repeat_interleave\n\n\n")),
    change("repeat_kv imported over", "more than once", before(EAGER, "from torch import tile as repeat_kv\n\n\n")),
    change(
        "repeat_kv under a condition",
        "not defined",
        (
            REPEAT,
            "if True:\n    def repeat_kv(x, n):\n        return x\n\n\ndef unused(hidden_states, n_rep):\n",
        ),
    ),
    change(
        "repeat_kv of another package",
        "repeat_kv",
        (REPEAT, "from torch import tile as repeat_kv\n\n\ndef unused(hidden_states, n_rep):\n"),
    ),
    change(
        "repeat_kv as a class", "class", (REPEAT, "class repeat_kv:\n    pass\n\n\ndef unused(hidden_states, n_rep):\n")
    ),
]


@pytest.mark.parametrize(("says", "pairs"), EAGER_CHANGES)
def test_another_attention_function_keeps_the_fused_one_away(says, pairs):
    left("attention", says, *pairs)


ROTARY_CHANGES = [
    change("an angle turned back", "-", (ROTATED, ROTATED.replace("+", "-"))),
    change(
        "another default place of the heads",
        "unsqueeze_dim",
        ("cos, sin, unsqueeze_dim=1)", "cos, sin, unsqueeze_dim=2)"),
    ),
    change(
        "no default place of the heads", "unsqueeze_dim", ("cos, sin, unsqueeze_dim=1)", "cos, sin, unsqueeze_dim)")
    ),
    change(
        "cos and sin exchanged",
        "cos",
        ("apply_rotary_pos_emb(q, k, cos, sin, uns", "apply_rotary_pos_emb(q, k, sin, cos, uns"),
    ),
    change("halves without a sign", "x1", ("torch.cat((-x2, x1), dim=-1)", "torch.cat((x2, x1), dim=-1)")),
    change(
        "assigned again",
        "more than once",
        before(ATTENTION, "apply_rotary_pos_emb = torch.compile(apply_rotary_pos_emb)\n\n\n"),
    ),
    change("rotate_half assigned again", "more than once", before(ATTENTION, "rotate_half = torch.neg\n\n\n")),
    change(
        "other defaults later", "__defaults__", before(PRETRAINED, "apply_rotary_pos_emb.__defaults__ = (2,)\n\n\n")
    ),
]


@pytest.mark.parametrize(("says", "pairs"), ROTARY_CHANGES)
def test_another_rotation_keeps_the_fused_attention_away(says, pairs):
    left("attention", says, *pairs)
