"""What the ops are made of computes what their kernels do, to the last bit."""

from functools import partial

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from porter.npu.decompositions import decompositions

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def drawn(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def calls(dtype):
    x, gamma = drawn(2, 5, 64, dtype=dtype), drawn(64, dtype=dtype, seed=1)
    q, cache = drawn(2, 1, 4, 16, dtype=dtype), drawn(2, 9, 2, 16, dtype=dtype, seed=2)
    mask = torch.arange(9).expand(2, 1, 1, 9) > 5
    table = drawn(2, 1, 1, 16, dtype=dtype, seed=3)
    heads = {"num_heads": 4, "num_key_value_heads": 2, "scale": 0.25, "input_layout": "BSND"}
    experts = torch.tensor([[3, 0], [7, 3], [0, 1], [3, 4], [5, 3]], dtype=torch.int32)
    routed = {"expert_num": 8, "active_expert_range": [0, 8], "expert_tokens_num_flag": True, "scale": torch.rand(5)}
    grouped = {"group_count": 4, "k_group": 2, "group_select_mode": 1, "norm_type": 1, "out_flag": True}
    places = torch.tensor([4, 0, 9, 3, 8, 1, 7, 2, 6, 5], dtype=torch.int32)
    starts, pairs = torch.tensor([1, 4]), torch.tensor([[1, 2]], dtype=torch.int32)
    return {
        "npu_rms_norm": [((x, gamma), {})],
        "npu_gemma_rms_norm": [((x, gamma), {})],
        "npu_add_rms_norm": [((x, x.flip(0), gamma), {})],
        "npu_rotary_mul": [
            ((q, table, table.flip(0)), {}),
            ((q, table[:1], table[:1], "interleave"), {}),
            ((q, table, table.flip(0), "half", drawn(16, 16, dtype=dtype, seed=4)), {}),
        ],
        "npu_interleave_rope": [((x.view(2, 1, 5, 64), x.view(2, 1, 5, 64).flip(0), x.view(2, 1, 5, 64).flip(2)), {})],
        "npu_swiglu": [((x,), {}), ((x[:, :4].contiguous(),), {"dim": 1})],
        "npu_geglu": [((x,), {}), ((x, 2, 0, True), {}), ((x[:, :4].transpose(0, 1), 0), {"activate_left": True})],
        "npu_fused_infer_attention_score": [
            ((q, cache, cache.flip(1)), {**heads, "atten_mask": mask}),
            ((q, cache, cache), {**heads, "atten_mask": mask, "pse_shift": drawn(1, 4, 1, 9, dtype=dtype, seed=5)}),
            ((cache, cache, cache), {**heads, "num_heads": 2, "atten_mask": torch.ones(9, 9).triu(1).bool()}),
        ],
        "npu_clipped_swiglu": [((x,), {}), ((x,), {"interleaved": False, "limit": 0.5, "dim": 0})],
        "npu_moe_gating_top_k_softmax": [((x[0], None, 3), {}), ((x, x[..., 0] > 0, 8), {})],
        "npu_moe_gating_top_k": [
            ((x[0], 3), {"out_flag": True}),
            ((x[0], 3), {"bias": x[1, 0], "routed_scaling_factor": 2.5, **grouped}),
        ],
        "npu_moe_init_routing_v2": [
            ((x[0], experts), routed),
            ((x[0], experts), {**routed, "expert_tokens_num_type": 1, "row_idx_type": 1}),
        ],
        "npu_moe_finalize_routing": [
            ((x.flatten(0, 1), None, None, None, x[0, :, :2], places, None, 2), {}),
            ((x.flatten(0, 1), x[0], x[1], x[0], x[0, :, :2], places, experts % 5, 0), {}),
            ((x, None, None, None, x[1, :, :2], places.where(places > 3, -1), None, 3), {}),
        ],
        "scatter_update": [
            ((cache, starts, cache[:, 3:5], 1), {}),
            ((cache, pairs, cache[:1, :, :, 2:4], 3), {}),
            ((cache.transpose(1, 2), starts[:1], cache.transpose(1, 2)[:1, :, 2:5], -2), {}),
        ],
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("op", list(decompositions()), ids=str)
def test_it_computes_what_the_kernel_does(op, dtype):
    for arguments, options in calls(dtype)[op._schema.name.removeprefix("npu::")]:
        expected, found = op(*arguments, **options), decompositions()[op](*arguments, **options)
        together = zip(expected, found, strict=True) if isinstance(expected, tuple) else [(expected, found)]
        for left, right in together:
            assert torch.equal(left, right)


@pytest.mark.parametrize("op", list(decompositions()), ids=str)
def test_nothing_is_left_of_the_op_in_a_decomposed_graph(op):
    for arguments, options in calls(torch.float32)[op._schema.name.removeprefix("npu::")]:
        tensors = {name: option for name, option in options.items() if isinstance(option, torch.Tensor)}
        called = partial(op, **{name: option for name, option in options.items() if name not in tensors})

        def run(arguments, tensors):
            return called(*arguments, **tensors)  # noqa: B023 - traced within this turn

        traced = make_fx(run, decomposition_table=decompositions(), tracing_mode="fake")
        graph = traced(arguments, tensors).graph
        targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
        assert targets and not any(target.startswith("npu.") for target in targets)
