"""What attention relies on, written otherwise and the same: ported all the same."""

from __future__ import annotations

import pytest

from tests.engine.relied import ATTENTION, DROPPED, EAGER, EXPANDED, MASKED, REPEAT, SCORES, at_the_end
from tests.engine.sources import port, rules_of, text_of, varied, why
from tests.engine.variations import INIT, before

SAME = [
    ("annotations", [(REPEAT, "def repeat_kv(hidden_states, n_rep):\n")]),
    (
        "comments and layout",
        [
            (
                SCORES,
                "    # scores\n" + SCORES.replace("torch.matmul(query, ", "torch.matmul(\n        query,\n        "),
            )
        ],
    ),
    (
        "names of locals",
        [
            ("attn_weights", "probabilities"),
            ("probabilities = attention_interface", "attn_weights = attention_interface"),
        ],
    ),
    (
        "names of parameters",
        [
            (REPEAT, "def repeat_kv(x, n: int):\n"),
            ("n_rep == 1", "n == 1"),
            (
                "    batch, num_key_value_heads, slen, head_dim = hidden_states.shape\n",
                "    batch, num_key_value_heads, slen, head_dim = x.shape\n",
            ),
            (
                "        return hidden_states\n    hidden_states = hidden_states[:, :, None, :, :]" + EXPANDED,
                "        return x\n    x = x[:, :, None, :, :]" + EXPANDED.replace("n_rep", "n"),
            ),
            (
                "    return hidden_states.reshape(batch, num_key_value_heads * n_rep,",
                "    return x.reshape(batch, num_key_value_heads * n,",
            ),
        ],
    ),
    (
        "functional by its own name",
        [
            ("from torch import nn\n", "import torch.nn.functional as F\nfrom torch import nn\n"),
            ("nn.functional.softmax", "F.softmax"),
        ],
    ),
    (
        "the mask as long as the keys",
        [
            (
                MASKED,
                "        m = attention_mask[:, :, :, : key_states.shape[-2]]\n"
                + MASKED.replace("+ attention_mask", "+ m"),
            )
        ],
    ),
    (
        "a default of the scaling",
        [
            (
                "    scaling: float,\n    dropout: float = 0.0,\n    **kwargs: Unpack",
                "    dropout: float = 0.0,\n    scaling: float | None = None,\n    **kwargs: Unpack",
            )
        ],
    ),
    ("dropout the other way round", [(DROPPED, "dropout=self.attention_dropout if self.training else 0.0")]),
    ("another scaling", [("        self.scaling = self.head_dim**-0.5\n", "        self.scaling = 0.125\n")]),
    (
        "a scaling of the configuration",
        [("        self.scaling = self.head_dim**-0.5\n", "        self.scaling = config.attention_multiplier\n")],
    ),
    ("causality left to its default", [(INIT, "")]),
    (
        "causality by a default",
        [(INIT, '        self.is_causal = not getattr(config, "use_bidirectional_attention", False)\n')],
    ),
    (
        "its functions imported",
        [
            (EAGER, "def unused_attention_forward(\n"),
            (REPEAT, "def unused_repeat_kv(hidden_states, n_rep):\n"),
            before(ATTENTION, "from ..mistral.modeling_mistral import eager_attention_forward\n\n\n"),
        ],
    ),
    (
        "a table that is looked into",
        [at_the_end('if "sdpa" in ALL_ATTENTION_FUNCTIONS:\n    known = ALL_ATTENTION_FUNCTIONS.valid_keys()')],
    ),
]


@pytest.mark.parametrize("pairs", [pairs for _, pairs in SAME], ids=[name for name, _ in SAME])
def test_what_is_the_same_is_ported_all_the_same(pairs):
    ported = port(varied(*pairs))
    assert "attention" in rules_of(ported), why(ported)


def test_llama_as_it_is_takes_the_rule():
    assert "attention" in rules_of(port(text_of("llama")))
