"""Experts, routers and the blocks around them, in real files; what would be wrong for them is left, with a reason."""

from __future__ import annotations

import pytest

from porter.convert import inspect
from tests.engine.sources import port, port_of, source_of, text_of, varied, why

SOFTMAX, BIASED = "router_softmax", "router_softmax_biased"
SIGMOID, GROUPED, PLAIN = "router_sigmoid", "router_sigmoid_grouped", "router_plain"
SOFTMAX_GROUPED = "router_softmax_grouped"
TAKEN = [
    ("qwen3_moe", "Qwen3MoeExperts", "Qwen3MoeTopKRouter", SOFTMAX, "Qwen3MoeSparseMoeBlock"),
    ("qwen2_moe", "Qwen2MoeExperts", "Qwen2MoeTopKRouter", SOFTMAX, "Qwen2MoeSparseMoeBlock"),
    ("mixtral", "MixtralExperts", "MixtralTopKRouter", SOFTMAX, "MixtralSparseMoeBlock"),
    ("olmoe", "OlmoeExperts", "OlmoeTopKRouter", SOFTMAX, "OlmoeSparseMoeBlock"),
    ("jamba", "JambaExperts", "JambaTopKRouter", SOFTMAX, "JambaSparseMoeBlock"),
    ("granitemoe", "GraniteMoeExperts", "GraniteMoeTopKRouter", SOFTMAX, "GraniteMoeMoE"),
    ("aria", "AriaExperts", "AriaTextTopKRouter", SOFTMAX, "AriaTextMoELayer"),
    ("hunyuan_v1_moe", "HunYuanMoEV1Experts", "HunYuanMoEV1Gate", SOFTMAX, "HunYuanMoEV1Moe"),
    ("deepseek_v3", "DeepseekV3Experts", "DeepseekV3TopkRouter", GROUPED, "DeepseekV3MoE"),
    ("glm4_moe", "Glm4MoeExperts", "Glm4MoeTopkRouter", GROUPED, "Glm4MoeMoE"),
    ("mimo_v2_flash", "MiMoV2FlashExperts", "MiMoV2FlashTopkRouter", GROUPED, "MiMoV2FlashMoE"),
    ("minimax_m2", "MiniMaxM2Experts", "MiniMaxM2TopKRouter", SIGMOID, "MiniMaxM2SparseMoeBlock"),
    ("hy_v3", "HYV3Experts", "HYV3TopKRouter", SIGMOID, "HYV3MoE"),
    ("afmoe", "AfmoeExperts", "AfmoeTokenChoiceRouter", SIGMOID, "AfmoeSparseMoeBlock"),
    ("laguna", "LagunaExperts", "LagunaTopKRouter", SIGMOID, "LagunaSparseMoeBlock"),
    ("ernie4_5_moe", "Ernie4_5_MoeExperts", "Ernie4_5_MoeTopKRouter", BIASED, "Ernie4_5_MoeSparseMoeBlock"),
    ("deepseek_v2", "DeepseekV2Experts", "DeepseekV2TopkRouter", SOFTMAX_GROUPED, "DeepseekV2Moe"),
    ("cohere2_moe", "Cohere2MoeExperts", "Cohere2MoeTopKRouter", SOFTMAX, "Cohere2MoeSparseMoeBlock"),
    ("axk1", "AXK1Experts", "AXK1TopkRouter", GROUPED, "AXK1MoE"),
    ("flint", "FlintExperts", "FlintTopKRouter", SIGMOID, "FlintSparseMoeBlock"),
    ("mistral4", "Mistral4Experts", "Mistral4TopkRouter", PLAIN, "Mistral4MoE"),
    ("kolibri1", "Kolibri1Experts", "Kolibri1TopKRouter", PLAIN, "Kolibri1SparseMoeBlock"),
    ("phimoe", "PhimoeExperts", "PhimoeTopKRouter", PLAIN, "PhimoeSparseMoeBlock"),
]


@pytest.mark.parametrize(("model", "experts", "router", "rule", "block"), TAKEN, ids=[row[0] for row in TAKEN])
def test_experts_routers_and_blocks_of_real_files(model, experts, router, rule, block):
    found = {site.name: site for site in inspect(source_of(model)).sites}
    ported, chosen, around = (found[f"{name}.forward"] for name in (experts, router, block))
    assert (ported.status, ported.rules) == ("ported", ("experts",))
    assert (chosen.status, chosen.rules) == ("verdict" if rule == PLAIN else "ported", (rule,))
    assert (around.status, around.rules) == ("verdict", ("moe_plain",))


def test_biased_and_clamped_experts_have_a_rule_of_their_own():
    found = {site.name: site for site in inspect(source_of("gpt_oss")).sites}
    assert found["GptOssExperts.forward"].rules == ("experts_clipped",)
    assert found["GptOssTopKRouter.forward"].rules == (SOFTMAX,)
    assert found["GptOssMLP.forward"].rules == ("moe_plain",)
    code = port_of("gpt_oss").code
    assert "npu_clipped_swiglu(gate_up, alpha=self.alpha, limit=self.limit)" in code
    assert "use_experts_implementation" not in code


LEFT = [
    ("nemotron_h", "NemotronHExperts"),  # no gate
    ("longcat_flash", "LongcatFlashExperts"),  # experts that hand on what they get
    ("minimax_m3_vl", "MiniMaxM3VLExperts"),  # a gate of its own
    ("llama4", "Llama4TextExperts"),  # every expert gets every token
]


@pytest.mark.parametrize(("model", "experts"), LEFT)
def test_other_experts_are_left_and_their_routers_with_them(model, experts):
    sites = [site for site in inspect(source_of(model)).sites if site.kind in ("experts", "router")]
    assert any(site.name == f"{experts}.forward" for site in sites)
    assert all(site.status == "left" and site.reason for site in sites)


def test_gelu_is_computed_by_another_kernel_than_silu():
    (experts,) = [site for site in inspect(source_of("gemma4")).sites if site.kind == "experts"]
    assert experts.status == "ported" and experts.rules == ("experts_gelu",)
    code = port_of("gemma4").code
    assert "npu_geglu(gate_up, -1, self.approximate, True)[0]" in code and "npu_swiglu" not in code


def test_what_sends_calls_past_a_forward_goes_with_it():
    code = port_of("qwen3_moe").code
    assert "@use_experts_implementation" in text_of("qwen3_moe")
    assert "use_experts_implementation" not in code and "ALL_EXPERTS_FUNCTIONS" not in code
    assert "npu_grouped_matmul" in code and "nonzero" not in code


def test_what_sends_calls_past_a_forward_stays_where_that_does():
    kept = port(text_of("qwen3_moe"), "qwen3_moe", keep=("Qwen3MoeExperts",))
    assert "@use_experts_implementation\nclass Qwen3MoeExperts" in kept.code
    assert "npu_moe_gating_top_k_softmax" not in kept.code
    assert "router_softmax: `Qwen3MoeExperts.forward` is left as it is" in why(kept)


def test_weights_stay_as_the_checkpoint_has_them():
    code = port_of("qwen3_moe").code
    stored = "        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * self.intermediate_dim"
    assert stored in code and "[self.gate_up_proj.transpose(1, 2)]" in code
    assert "gate_up_proj" not in code[code.index("weight_merges = (") : code.index("class Qwen3MoePreTrainedModel")]


CALL = "final_hidden_states = self.experts(hidden_states_reshaped, selected_experts, routing_weights)"
RETURNED = "        return router_logits, router_scores, router_indices\n"
LOOP = "            current_hidden_states = self.act_fn(gate) * up\n"
UNSOUND = {
    "the block looks at what was chosen": (
        (CALL, f"routing_weights = routing_weights * self.scales.gather(0, selected_experts)\n        {CALL}"),
        ("`Qwen3MoeSparseMoeBlock.forward` is left as it is",),
    ),
    "the router looks at what it chose": (
        (RETURNED, f"        router_scores = router_scores * self.scales.gather(0, router_indices)\n{RETURNED}"),
        ("`router_indices` is used here, and the rewrite makes another kind of value of it",),
    ),
    "the router keeps what it chose": (
        (RETURNED, f"        self.last = router_indices\n{RETURNED}"),
        ("`router_indices` is used here, and the rewrite makes another kind of value of it",),
    ),
    "the router keeps the probabilities": (
        (RETURNED, f"        self.last = router_probs\n{RETURNED}"),
        ("`router_probs` is used here",),
    ),
    "experts limit what they compute": (
        (LOOP, LOOP.replace("self.act_fn(gate)", "self.act_fn(gate.clamp(max=7.0))")),
        ("closest experts", "router_softmax: `Qwen3MoeExperts.forward` is left as it is"),
    ),
    "another class holds the router": (
        (
            "        self.hidden_size = config.hidden_size\n\n    def forward",
            "        self.hidden_size = config.hidden_size\n"
            "        self.extra = Qwen3MoeTopKRouter(config)\n\n    def forward",
        ),
        ("`Qwen3MoeDecoderLayer` holds it, and is none of experts, moe",),
    ),
}  # fmt: skip


def test_probabilities_that_a_router_gives_out_come_from_the_op_that_writes_them():
    given = (RETURNED, "        return router_probs, router_scores, router_indices\n")
    ported = port(varied(given, model="qwen3_moe"), "qwen3_moe")
    assert "router_indices, router_probs = torch_npu.npu_moe_gating_top_k(" in ported.code
    assert "out_flag=True" in ported.code and "npu_moe_gating_top_k_softmax" not in ported.code


@pytest.mark.parametrize("case", UNSOUND)
def test_what_would_be_another_choice_or_another_output_is_left(case):
    pair, reasons = UNSOUND[case]
    ported = port(varied(pair, model="qwen3_moe"), "qwen3_moe")
    assert "npu_moe_gating_top_k_softmax" not in ported.code
    for reason in reasons:
        assert reason in why(ported)


@pytest.mark.parametrize("read", ["self.has_gate", "self.config.hidden_size", "self._apply_gate(x)"])
def test_what_the_decorator_gives_the_class_keeps_the_rule_away(read):
    start = "\n\nclass Qwen3MoeTopKRouter(nn.Module):"
    told = varied((start, f"\n    def told(self, x):\n        return {read}\n{start}"), model="qwen3_moe")
    ported = port(told, "qwen3_moe")
    assert "is what `@use_experts_implementation` gives the class" in why(ported)
    assert "@use_experts_implementation\nclass Qwen3MoeExperts" in ported.code


def test_what_the_class_sets_itself_is_its_own():
    start = "\n\nclass Qwen3MoeTopKRouter(nn.Module):"
    own = varied(
        ("        self.num_experts = config.num_experts\n"
         "        self.hidden_dim = config.hidden_size\n        self.inter",
         "        self.config = config\n        self.num_experts = config.num_experts\n"
         "        self.hidden_dim = config.hidden_size\n        self.inter"),
        (start, f"\n    def told(self):\n        return self.config.hidden_size\n{start}"),
        model="qwen3_moe",
    )  # fmt: skip
    assert "npu_grouped_matmul" in port(own, "qwen3_moe").code


def test_a_decorator_of_the_file_s_own_by_that_name_keeps_the_rule_away():
    marked = "@use_experts_implementation\n"
    own = varied(
        ("integrations import use_experts_implementation, ", "integrations import "),
        (marked, f"def use_experts_implementation(cls):\n    return cls\n\n\n{marked}"),
        model="qwen3_moe",
    )  # fmt: skip
    assert "may make another class of `Qwen3MoeExperts`" in why(port(own, "qwen3_moe"))


def test_scores_and_shares_by_one_name_are_still_two_values():
    code = port(varied(("topk_weights", "scores"), model="glm4_moe"), "glm4_moe").code
    assert "        scores, topk_indices, plain = torch_npu.npu_moe_gating_top_k(\n" in code
    assert "scores = plain.gather(1, topk_indices.long()) * self.routed_scaling_factor" in code


ADDED = "return hidden_states + self.e_score_correction_bias.squeeze()"


@pytest.mark.parametrize("other", [ADDED.replace("+", "*"), ADDED.replace("+ self", "+ 2 * self")])
def test_a_module_that_does_not_just_add_its_bias_keeps_the_router_as_it_is(other):
    code = port(varied((ADDED, other), model="ernie4_5_moe"), "ernie4_5_moe").code
    assert "npu_moe_gating_top_k" not in code and "npu_grouped_matmul" in code
