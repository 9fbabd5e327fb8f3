"""Llama's source changed in what its attention relies on: the places, and how a case is tried."""

from __future__ import annotations

import pytest

from tests.engine.sources import Pair, port, rules_of, varied, why
from tests.engine.variations import INIT, PRETRAINED, before, behind

SCORES = "    attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling\n"
MASKED = "        attn_weights = attn_weights + attention_mask\n"
SOFTMAX = "    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)\n"
DROPOUT = "    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)\n"
EAGER = "def eager_attention_forward(\n"
REPEAT = "def repeat_kv(hidden_states: torch.Tensor, n_rep: int) -> torch.Tensor:\n"
EXPANDED = ".expand(batch, num_key_value_heads, n_rep, slen, head_dim)"
DROPPED = "dropout=0.0 if not self.training else self.attention_dropout"
TABLE = "from ...modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel"
ATTENTION = "@use_kernelized_func(apply_rotary_pos_emb)\nclass LlamaAttention"
ROTATED = "    q_embed = (q * cos) + (rotate_half(q) * sin)\n"
MINE = "def mine(*args, **kwargs):\n    return args[2], None\n\n\n"
INIT_OF_ATTENTION = """    def __init__(self, config: LlamaConfig, layer_idx: int):
        super().__init__()
        self.config = config
"""
FORWARD = """    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor]:
"""
HANDED_ON = """            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
"""
PICKED = """        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )"""


def left(rule: str, says: str, *pairs: Pair) -> None:
    ported = port(varied(*pairs))
    assert rule not in rules_of(ported)
    assert f"{rule}: " in why(ported) and says in why(ported)


def change(name: str, says: str, *pairs: Pair):
    return pytest.param(says, pairs, id=name)


def inside(statement: str) -> Pair:
    return behind(INIT, f"        {statement}\n")


def at_the_end(text: str) -> Pair:
    return before(PRETRAINED, f"{MINE}{text}\n\n\n")
