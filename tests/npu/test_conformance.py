"""porter's ops against the real torch_npu wheel: schemas, shapes and dtypes of its own meta kernels, captured graphs.

The wheel is loaded in a process of its own. Without it these are skipped, with the reason; where CI=true they fail.
"""

import pytest

import porter.npu
from porter.diagnostics import Refused
from porter.lowering.conformance import graphs, outputs, schemas
from porter.lowering.process import ask
from tests.lowering.conftest import LLAMA, need_wheel

HALF, BF16, FULL, LONG, INT = "float16", "bfloat16", "float32", "int64", "int32"


def t(*shape, dtype=HALF):
    return {"shape": list(shape), "dtype": dtype}


def call(op, *args, **options):
    return {"op": op, "args": list(args), "options": options}


def attention(q, kv, layout, **options):
    return call("npu_fused_infer_attention_score", q, kv, kv, input_layout=layout, **options)


NORMS = [
    call(op, t(*shape, dtype=dtype), t(*gamma, dtype=scale))
    for op in ("npu_rms_norm", "npu_gemma_rms_norm")
    for shape, gamma in (((2, 7, 64), (64,)), ((3, 128), (128,)), ((2, 3, 4, 32), (4, 32)))
    for dtype, scale in ((HALF, HALF), (BF16, BF16), (FULL, FULL), (BF16, FULL))
]
ADDED = [
    call("npu_add_rms_norm", t(*shape, dtype=dtype), t(*shape, dtype=dtype), t(shape[-1], dtype=dtype), 1e-5)
    for shape in ((2, 7, 64), (5, 32), (64,))
    for dtype in (HALF, BF16, FULL)
] + [
    call("npu_add_rms_norm_cast", t(*shape, dtype=dtype), t(*shape, dtype=dtype), t(shape[-1], dtype=dtype), 1e-5)
    for shape in ((2, 7, 64), (5, 32))
    for dtype in (HALF, BF16)
]
ROTARY = [
    call("npu_rotary_mul", t(2, 7, 4, 128), t(2, 7, 1, 128), t(2, 7, 1, 128)),
    call("npu_rotary_mul", t(2, 4, 7, 64, dtype=BF16), t(1, 1, 7, 64, dtype=BF16), t(1, 1, 7, 64, dtype=BF16)),
    call("npu_rotary_mul", t(9, 4, 64), t(9, 1, 64), t(9, 1, 64)),
    call("npu_rotary_mul", t(2, 7, 4, 128), t(1, 7, 1, 128), t(1, 7, 1, 128), rotary_mode="interleave"),
    call("npu_rotary_mul", t(2, 7, 4, 128), t(2, 7, 1, 128), t(2, 7, 1, 128), rotate=t(128, 128)),
    call(
        "npu_rotary_mul",
        t(2, 7, 4, 64, dtype=BF16),
        t(1, 7, 1, 64, dtype=BF16),
        t(1, 7, 1, 64, dtype=BF16),
        "interleave",
        t(64, 64, dtype=BF16),
    ),
    call("npu_apply_rotary_pos_emb", t(2, 7, 8, 128), t(2, 7, 2, 128), t(2, 7, 1, 128), t(2, 7, 1, 128)),
    *(
        call("npu_interleave_rope", t(2, 4, 7, 64, dtype=dtype), *[t(2, 1, rows, 64, dtype=dtype)] * 2)
        for dtype in (HALF, BF16)
        for rows in (7, 1)
    ),
    call("npu_apply_rotary_pos_emb", t(9, 8, 64), t(9, 2, 64), t(9, 1, 64), t(9, 1, 64), "TND"),
]
ATTENTION = [
    attention(t(2, 7, 8, 128), t(2, 32, 2, 128), "BSND", num_heads=8, num_key_value_heads=2),
    attention(t(2, 1, 8, 128), t(2, 32, 2, 128), "BSND", num_heads=8, num_key_value_heads=2,
              atten_mask=t(2, 1, 1, 32, dtype="bool")),
    attention(t(2, 7, 1024, dtype=BF16), t(2, 7, 1024, dtype=BF16), "BSH", num_heads=8),
    attention(t(2, 8, 7, 64), t(2, 8, 9, 64), "BNSD", num_heads=8),
    attention(t(2, 8, 7, 64), t(2, 8, 9, 64), "BNSD_BSND", num_heads=8),
    attention(t(9, 8, 128), t(9, 8, 128), "TND", num_heads=8, actual_seq_lengths=[4, 9],
              actual_seq_lengths_kv=[4, 9]),
    attention(t(2, 7, 8, 128), t(2, 7, 8, 128), "BSND", num_heads=8, softmax_lse_flag=True),
    attention(t(2, 7, 8, 128), t(2, 9, 8, 128), "BSND", num_heads=8, pse_shift=t(1, 8, 7, 9)),
    attention(t(2, 1, 8, 64, dtype=BF16), t(2, 9, 8, 64, dtype=BF16), "BSND", num_heads=8,
              pse_shift=t(2, 8, 1, 16, dtype=BF16)),
    attention(t(2, 1, 8, 512, dtype=BF16), t(2, 9, 1, 512, dtype=BF16), "BSND", num_heads=8, num_key_value_heads=1,
              query_rope=t(2, 1, 8, 64, dtype=BF16), key_rope=t(2, 9, 1, 64, dtype=BF16), scale=0.07),
    attention(t(2, 8, 7, 128), t(2, 8, 7, 128), "BNSD", num_heads=8, query_rope=t(2, 8, 7, 64),
              key_rope=t(2, 8, 7, 64), atten_mask=t(2, 1, 7, 7, dtype="bool"), softmax_lse_flag=True),
]  # fmt: skip
WRITES = [
    call(op, t(2, 16, 2, 64, dtype=dtype), t(2, dtype=index), t(2, 3, 2, 64, dtype=dtype), 1)
    for op in ("scatter_update", "scatter_update_")
    for dtype in (HALF, BF16)
    for index in (LONG, INT)
] + [
    call(op, t(8, 4), t(2, 1, dtype=LONG), t(2, 4))
    for op in ("npu_scatter_nd_update", "npu_scatter_nd_update_")
]  # fmt: skip
OTHERS = [
    *(call("npu_swiglu", t(*shape, dtype=dtype), dim) for shape, dim in (((2, 7, 64), -1), ((6, 8), 0))
      for dtype in (HALF, BF16, FULL)),
    *(call("npu_gelu", t(*shape, dtype=dtype), **named)
      for shape in ((2, 7, 64), (5,), ()) for named in ({}, {"approximate": "tanh"}) for dtype in (HALF, BF16, FULL)),
    *(call("npu_geglu", t(*shape, dtype=dtype), dim, *more)
      for shape, dim, more in (((2, 7, 64), -1, (1, True)), ((6, 8), 0, ()), ((3, 4, 2), 1, (0,)))
      for dtype in (HALF, BF16, FULL)),
    *(call("npu_clipped_swiglu", t(*shape, dtype=dtype), dim=dim, interleaved=interleaved, limit=5.0)
      for shape, dim in (((2, 7, 64), -1), ((6, 8), 0))
      for dtype in (HALF, BF16, FULL) for interleaved in (True, False)),
    call("npu_clipped_swiglu", t(6, 8), group_index=t(2, dtype=LONG), alpha=1.5, bias=0.5),
    call("npu_mm_all_reduce_base", t(2, 7, 64), t(64, 32), "group"),
    call("npu_mm_all_reduce_base", t(7, 64, dtype=BF16), t(64, 32, dtype=BF16), "group", bias=t(32, dtype=BF16)),
]  # fmt: skip
ROUTED = {"expert_num": 8, "active_expert_range": [0, 8], "expert_tokens_num_flag": True}
GROUPED = {"split_item": 2, "group_type": 0}
GROUPS = {
    0: {**t(8, dtype=LONG), "values": [2, 2, 5, 9, 9, 14, 14, 14]},
    1: {**t(8, dtype=LONG), "values": [2, 0, 3, 4, 0, 5, 0, 0]},
}
EXPERTS = [
    *(call("npu_moe_gating_top_k_softmax", t(*shape, dtype=dtype), None, 2)
      for shape in ((7, 8), (2, 7, 8)) for dtype in (HALF, BF16, FULL)),
    call("npu_moe_gating_top_k_softmax", t(7, 8, dtype=FULL), t(7, dtype="bool"), 2),
    *(call("npu_moe_gating_top_k", t(7, 64, dtype=dtype), 6, bias=t(64, dtype=dtype), k_group=4, group_count=8,
           group_select_mode=1, norm_type=1, routed_scaling_factor=2.5) for dtype in (BF16, FULL)),
    call("npu_moe_gating_top_k", t(7, 64, dtype=FULL), 6, out_flag=True),
    *(call("npu_moe_init_routing_v2", t(7, 64, dtype=dtype), t(7, 2, dtype=INT), active_num=14,
           expert_tokens_num_type=kind, row_idx_type=index, **ROUTED)
      for dtype in (HALF, BF16, FULL) for kind in (0, 1) for index in (0, 1)),
    call("npu_moe_init_routing_v2", t(7, 64), t(7, 2, dtype=INT), scale=t(7, dtype=FULL), expert_tokens_num_type=1,
         **{**ROUTED, "active_expert_range": [2, 5]}),
    *(call("npu_grouped_matmul", [t(14, 64, dtype=dtype)], [t(8, 64, 32, dtype=dtype)], group_list_type=kind,
           group_list=GROUPS[kind], **GROUPED)
      for dtype in (HALF, BF16, FULL) for kind in (0, 1)),
    call("npu_grouped_matmul", [t(14, 64, dtype=BF16)], [t(8, 64, 32, dtype=BF16)], bias=[t(8, 32, dtype=FULL)],
         group_list_type=1, group_list=GROUPS[1], **{**GROUPED, "split_item": 3}),
    *(call("npu_moe_finalize_routing", t(14, 64, dtype=dtype), None, None, None, t(7, 2, dtype=dtype),
           t(14, dtype=INT), None, 2) for dtype in (HALF, BF16, FULL)),
    call("npu_moe_finalize_routing", t(14, 64), t(7, 64), t(7, 64), t(8, 64), t(7, 2), t(14, dtype=INT),
         t(7, 2, dtype=INT), 0),
    call("npu_moe_finalize_routing", t(8, 5, 64), None, None, None, t(7, 2), t(14, dtype=INT), None, 3),
    call("npu_moe_finalize_routing", t(14, 64), None, None, None, None, t(14, dtype=INT), None, 2, 2),
]  # fmt: skip
CALLS = [*NORMS, *ADDED, *ROTARY, *ATTENTION, *WRITES, *EXPERTS, *OTHERS]


def spelt(made):
    def value_of(value):
        if isinstance(value, list):
            return f"[{', '.join(map(value_of, value))}]"
        return f"{value['dtype']}{tuple(value['shape'])}" if isinstance(value, dict) else str(value)

    shapes = ", ".join(map(value_of, made["args"]))
    options = "".join(f", {name}={value if not isinstance(value, dict) else '...'}" for name, value in
                      made["options"].items())  # fmt: skip
    return f"{made['op']}({shapes}{options})"


@pytest.fixture(scope="module")
def wheel_says():
    need_wheel()
    ops = list(porter.npu.implemented())
    job = {"soc": "Ascend910B3", "ops": ops, "calls": CALLS, "directory": str(LLAMA)}
    answer = ask("conformance", job, lambda *step: None)
    assert not isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize("op", porter.npu.implemented())
def test_schema_is_the_one_the_wheel_registers(wheel_says, op):
    assert schemas([op])[op] == wheel_says["schemas"][op]


def test_every_op_is_in_the_table():
    assert {made["op"] for made in CALLS} == set(porter.npu.implemented())


@pytest.mark.parametrize("index", range(len(CALLS)), ids=[spelt(made) for made in CALLS])
def test_shapes_and_dtypes_are_those_of_the_wheel_s_meta_kernels(wheel_says, index):
    theirs = wheel_says["outputs"][index]
    assert "tensors" in theirs, f"the wheel's own meta kernel raises: {theirs}"
    assert outputs(CALLS[index]) == theirs


def test_the_captured_graphs_are_the_same(wheel_says):
    ours = graphs(LLAMA)
    assert list(ours) == list(wheel_says["graphs"])
    for name, targets in ours.items():
        assert targets == wheel_says["graphs"][name], name
    npu = [target for target in ours["decode, functional"] if "npu." in target]
    assert len(npu) == 9  # first norm, two rotations, two writes, attention, two norms with residual, swiglu
