"""What an npu op is called with is in the GE nodes it becomes, or it does not lower."""

import pytest

from porter.diagnostics import Refused
from porter.lowering.arrived import Argument, Made, lost
from porter.lowering.process import ask
from tests.npu.test_conformance import ATTENTION, BF16, EXPERTS, FULL, LONG, OTHERS, call, spelt, t

X, TABLE, SHARED, MATRIX = t(2, 7, 4, 64), t(2, 7, 1, 64), t(1, 7, 1, 64), t(64, 64)
STATES = t(2, 7, 8, 64, dtype=BF16)
MASKED = {"num_heads": 8, "input_layout": "BSND", "atten_mask": t(2, 1, 7, 7, dtype="bool")}

NODES = {
    "npu_moe_gating_top_k_softmax": "MoeGatingTopKSoftmax",
    "npu_moe_gating_top_k": "MoeGatingTopK",
    "npu_moe_init_routing_v2": "MoeInitRoutingV3",
    "npu_grouped_matmul": "GroupedMatmul",
    "npu_moe_finalize_routing": "MoeFinalizeRoutingV2",
}
EVERYTHING_ADDED = next(made for made in EXPERTS if made["op"] == "npu_moe_finalize_routing" and made["args"][1])

ARRIVE = [
    (call("npu_rotary_mul", X, TABLE, TABLE), "RotaryMul"),
    (call("npu_rotary_mul", X, TABLE, TABLE, "half"), "RotaryMul"),
    (call("npu_rotary_mul", X, TABLE, TABLE, "half", MATRIX), "RotaryPositionEmbedding"),
    (call("npu_rotary_mul", X, SHARED, SHARED, "interleave", MATRIX), "RotaryPositionEmbedding"),
    (call("npu_rotary_mul", X, TABLE, TABLE, rotate=MATRIX), "RotaryPositionEmbedding"),
    (call("npu_interleave_rope", t(2, 4, 7, 64), t(2, 1, 7, 64), t(2, 1, 7, 64)), "InterleaveRope"),
    (call("npu_gelu", t(2, 7, 64)), "GeluV2"),
    (call("npu_gelu", t(2, 7, 64), approximate="tanh"), "GeluV2"),
    (call("npu_geglu", t(2, 7, 64)), "GeGluV2"),
    (call("npu_geglu", t(2, 7, 64), -1, 0, True), "GeGluV2"),
    (call("npu_geglu", t(6, 8, dtype=FULL), 0, 1, True), "GeGluV2"),
    (call("npu_swiglu", t(2, 7, 64)), "SwiGlu"),
    (call("npu_swiglu", t(6, 8), 0), "SwiGlu"),
    (call("npu_rms_norm", t(2, 64), t(64), 1e-5), "RmsNorm"),
    (call("npu_add_rms_norm", t(2, 64), t(2, 64), t(64), 1e-5), "AddRmsNorm"),
    (call("scatter_update", t(2, 16, 2, 64), t(2, dtype=LONG), t(2, 3, 2, 64), 1), "Scatter"),
    (call("npu_fused_infer_attention_score", STATES, STATES, STATES, **MASKED), "FusedInferAttentionScore"),
    *((made, "FusedInferAttentionScore") for made in (*ATTENTION[:2], *ATTENTION[-3:])),
    *((made, "ClippedSwiglu") for made in OTHERS if made["op"] == "npu_clipped_swiglu"),
    *((made, NODES[made["op"]]) for made in EXPERTS if made is not EVERYTHING_ADDED),
    (EVERYTHING_ADDED, "MoeFinalizeRouting"),
]  # fmt: skip

DROPPED = (
    call("npu_rotary_mul", X, SHARED, SHARED, "interleave"),
    "npu.npu_rotary_mul.default: `rotary_mode='interleave'` does not arrive in what it becomes, RotaryMul",
)
DROPPED_ON_950 = (
    call("npu_rotary_mul", X, TABLE, TABLE, "half", MATRIX),
    "npu.npu_rotary_mul.default: `rotate` is no input of what it becomes, RotaryPositionEmbedding",
)


def lowered(soc, calls):
    job = {"soc": soc, "ops": [], "calls": [], "directory": "", "lowered": calls}
    answer = ask("conformance", job, lambda *step: None)
    assert not isinstance(answer, Refused), answer
    return answer["lowered"]


@pytest.fixture(scope="module")
def made_here(wheel):
    return lowered("Ascend910B3", [*(made for made, _ in ARRIVE), DROPPED[0]])


@pytest.mark.parametrize("index", range(len(ARRIVE)), ids=[spelt(made) for made, _ in ARRIVE])
def test_what_arrives_lowers(made_here, index):
    assert ARRIVE[index][1] in made_here[index].get("nodes", ()), made_here[index]


def test_lists_that_a_grouped_product_is_called_without_cost_no_kernel(made_here):
    found = [made_here[index]["nodes"] for index, (_, kind) in enumerate(ARRIVE) if kind == "GroupedMatmul"]
    without_bias, with_bias = ([*["Data"] * inputs, "GroupedMatmul", "NetOutput"] for inputs in (3, 4))
    assert found == [*[without_bias] * 6, with_bias]


def test_interleave_without_a_matrix_stops_the_lowering_for_a2(made_here):
    assert made_here[-1] == {"stopped": DROPPED[1]}


def test_a_matrix_stops_the_lowering_for_950_where_interleave_alone_arrives(wheel):
    made, reason = DROPPED_ON_950
    first, second = lowered("Ascend950PR", [made, DROPPED[0]])
    assert first == {"stopped": reason}
    assert "RotaryPositionEmbedding" in second["nodes"]


def node(inputs=(), name="Op", kind="Op", **attributes):
    return Made(name, kind, attributes, {f"in{index}": tensor for index, tensor in enumerate(inputs)})


X_IN = Argument("x", tensor="x:0")


@pytest.mark.parametrize(
    ("arguments", "nodes", "found"),
    [
        ([X_IN, Argument("dim", 1, -1)], [node(["x:0"], dim=1)], None),
        ([X_IN, Argument("dim", 1, -1)], [node(["x:0"], dim=-1)], "`dim=1`"),
        ([X_IN, Argument("dim", 1, -1)], [node(["x:0"])], "`dim=1`"),
        ([X_IN, Argument("dim", -1, -1)], [node(["x:0"])], None),
        ([X_IN, Argument("dim", -1, -1)], [node(["x:0"], dim=0)], "`dim=-1`"),
        ([X_IN, Argument("eps", 0.1, 1e-6)], [node(["x:0"], eps=0.10000000149011612)], None),
        ([X_IN, Argument("eps", 0.1, 1e-6)], [node(["x:0"], eps=0.1001)], "`eps=0.1`"),
        ([X_IN, Argument("left", True, False)], [node(["x:0"], left=False)], "`left=True`"),
        ([X_IN, Argument("mask", None, None)], [node(["x:0"])], None),
        ([X_IN, Argument("m", tensor="m:0")], [node(["x:0", "m:0"])], None),
        ([X_IN, Argument("m", tensor="m:0")], [node(["x:0", ""])], "`m` is no input"),
        ([X_IN, Argument("m", tensor="x:0")], [node(["x:0"])], "`m` is no input"),
        ([X_IN, Argument("m", tensor="m:0")], [node(["base:0"], "Reshape"), node(["x:0", "Reshape:0"])], None),
        ([X_IN, Argument("m", tensor="m:0")], [node(["x:0"], "Cast"), node(["Cast:0"])], "`m` is no input"),
        ([X_IN], [], "no node"),
    ],
)  # fmt: skip
def test_an_argument_has_arrived_where_a_node_says_it(arguments, nodes, found):
    said = lost(arguments, nodes)
    assert said is None if found is None else found in said


def test_half_is_the_mode_that_a_node_without_one_has():
    mode = Argument("rotary_mode", "half", "half")
    assert lost([X_IN, mode], [node(["x:0"])]) is None and lost([X_IN, mode], [node(["x:0"], mode=0)]) is None
    assert "rotary_mode='half'" in lost([X_IN, mode], [node(["x:0"], mode=1)])
