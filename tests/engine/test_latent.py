"""Latent attention in real files: which are taken, and what near them is left."""

from __future__ import annotations

import pytest

from porter.convert import inspect
from tests.engine.sources import port, port_of, source_of, varied, why

TAKEN = ["deepseek_v3", "glm4_moe_lite", "youtu", "minicpm3", "mistral4", "axk1"]
FUSED = "npu_fused_infer_attention_score"


@pytest.mark.parametrize("model", TAKEN)
def test_attention_and_rotation_are_taken(model):
    sites = inspect(source_of(model)).sites
    (attention,) = [site for site in sites if site.kind == "attention"]
    assert (attention.status, set(attention.rules)) == ("ported", {"attention_latent", "merge_qkv_latent"}) or (
        attention.rules == ("attention_latent",)
    )
    turned = [site for site in sites if site.name.startswith("apply_rotary_pos_emb")]
    assert turned and all(site.status == "ported" for site in turned)


def test_one_token_and_several_are_both_written():
    code = port_of("deepseek_v3").code
    assert code.count(FUSED) == 1 and code.count("absorbed_attention(") == 1
    assert "create_causal_mask" not in code and "turn_neighbours_apart(q, k, cos, sin, unsqueeze_dim)" in code


LEFT = {
    "values stand first": (
        "k_nope, value_states = torch.split(kv_nope, [self.qk_nope_head_dim, self.v_head_dim], dim=-1)",
        "value_states, k_nope = torch.split(kv_nope, [self.v_head_dim, self.qk_nope_head_dim], dim=-1)",
    ),
    "the rope part stands first": (
        "query_states = torch.cat((q_pass, q_rot), dim=-1)",
        "query_states = torch.cat((q_rot, q_pass), dim=-1)",
    ),
    "keys are changed behind the cache": (
        "        query_states = torch.cat((q_pass, q_rot), dim=-1)",
        "        kv_nope = kv_nope * 2\n        query_states = torch.cat((q_pass, q_rot), dim=-1)",
    ),
    "neighbours turn the other way": (
        "q_embed = torch.cat([q1 * cos - q2 * sin, q2 * cos + q1 * sin], dim=-1)",
        "q_embed = torch.cat([q1 * cos + q2 * sin, q2 * cos - q1 * sin], dim=-1)",
    ),
    "heads are looked at by the rotation": (
        "    q1, q2 = q[..., 0::2], q[..., 1::2]",
        "    q = q * q.shape[1]\n    q1, q2 = q[..., 0::2], q[..., 1::2]",
    ),
}


@pytest.mark.parametrize("change", LEFT.values(), ids=LEFT)
def test_what_computes_something_else_is_left(change):
    result = port(varied(change, model="deepseek_v3"), "deepseek_v3")
    assert FUSED not in result.code and "absorbed_attention" not in result.code
    assert "attention" in why(result)
