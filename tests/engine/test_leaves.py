"""Norms and rotary functions: variations of Llama under which a rule would be wrong leave it out."""

from __future__ import annotations

import pytest

from tests.engine.sources import port, rules_of, varied
from tests.engine.variations import before, case

CASES = [
    case(
        "the weight is shifted",
        "norm_rms_residual",
        ("return self.weight * hidden_states", "return (1 + self.weight) * hidden_states"),
    ),
    case(
        "the mean is subtracted",
        "norm_rms_residual",
        before(
            "        variance = hidden_states.pow",
            "        hidden_states = hidden_states - hidden_states.mean(-1, True)\n",
        ),
    ),
    case(
        "a bias is added",
        "norm_rms_residual",
        ("hidden_states.to(input_dtype)", "hidden_states.to(input_dtype) + self.bias"),
    ),
    case(
        "the source turns by the negative angle", "rotary_half", ("(rotate_half(q) * sin)", "(-rotate_half(q) * sin)")
    ),
    case("the halves are interleaved", "rotary_half", ("x[..., : x.shape[-1] // 2]", "x[..., ::2]")),
    case(
        "the halves' function is replaced afterwards",
        "rotary_half",
        before("def repeat_kv", "rotate_half = interleaved\n\n\n"),
    ),
    case("the halves' function is decorated", "rotary_half", before("def rotate_half", "@doubled\n")),
    case(
        "the halves' function is a parameter",
        "rotary_half",
        ("sin, unsqueeze_dim=1)", "sin, unsqueeze_dim=1, rotate_half=None)"),
    ),
    case(
        "the weight has a row for each head",
        "norm_rms_residual",
        ("torch.ones(hidden_size)", "torch.ones(heads, hidden_size)"),
        ("self, hidden_size, eps", "self, hidden_size, heads, eps"),
    ),
    case(
        "the forward is decorated",
        "norm_rms_residual",
        before("    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:\n        input", "    @doubled\n"),
    ),
]


@pytest.mark.parametrize(("rule", "pairs"), CASES)
def test_the_rule_is_left_out(rule, pairs):
    assert rule not in rules_of(port(varied(*pairs)))


def test_these_rules_take_llama_as_it_is():
    assert rules_of(port(varied())) >= {case.values[0] for case in CASES}


PLAIN = """    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed
"""
PARTIAL = """    width = cos.shape[-1]
    q_turned, k_turned = q[..., :width], k[..., :width]
    q_turned = (rotate_half(q_turned) * sin) + (q_turned * cos)
    k_turned = (rotate_half(k_turned) * sin) + (k_turned * cos)
    q = torch.cat((q_turned, q[..., width:]), -1)
    return q, torch.cat((k_turned, k[..., width:]), -1)
"""
WIDE = """    return (
        ((q.float() * cos) + (rotate_half(q.to(torch.float32)) * sin)).type_as(q),
        ((k.float() * cos) + (rotate_half(k.to(torch.float32)) * sin)).type_as(k),
    )
"""


@pytest.mark.parametrize("body", [PARTIAL, WIDE, WIDE.replace(".float()", "").replace(".to(torch.float32)", "")])
def test_a_rotation_is_what_it_computes(body):
    ported = port(varied((PLAIN, body)))
    assert "rotary_half" in rules_of(ported)
    assert ported.code.count("torch_npu.npu_rotary_mul(") == (4 if body is PARTIAL else 2)  # heads that turn whole too
    function = ported.code.split("def apply_rotary_pos_emb")[1].split("\nclass ")[0]
    assert "rotate_half" not in function and "_ = " not in function  # no local of the source is in the way of a name


@pytest.mark.parametrize(
    "pair",
    [
        ("q[..., width:]), -1)", "2 * q[..., width:]), -1)"),
        ("torch.cat((q_turned, q[..., width:]), -1)", "torch.cat((q[..., width:], q_turned), -1)"),
        ("q[..., :width], k[..., :width]", "q[..., :width], k[..., -width:]"),
        ("width = cos.shape[-1]", "width = cos.shape[-2]"),
        ("(rotate_half(q_turned) * sin) +", "(rotate_half(q_turned) * sin) -"),
    ],
)
def test_another_rotation_of_a_part_is_left(pair):
    assert pair[0] in PARTIAL
    assert "rotary_half" not in rules_of(port(varied((PLAIN, PARTIAL.replace(*pair)))))


BUILT = "self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)"


@pytest.mark.parametrize(
    "width", ["(2, config.hidden_size)", "hidden_size=(2, config.hidden_size)", "[2, config.hidden_size]"]
)
def test_a_norm_that_is_built_for_several_dimensions_is_left(width):
    """Its weight has two dimensions, and the op would norm both."""
    ported = port(varied((BUILT, BUILT + f"\n        self.other = LlamaRMSNorm({width}, eps=1e-6)")))
    norm = next(site for site in ported.sites if site.kind == "norm")
    assert norm.status == "left" and "is built with several numbers for `hidden_size`" in norm.reason
