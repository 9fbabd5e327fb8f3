"""What the ops are made of computes what their kernels do, to the last bit."""

from functools import partial

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from porter.npu.decompositions import decompositions
from tests.error_rule import no_further

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
    weight, groups = drawn(3, 64, 8, dtype=dtype, seed=6), {"group_type": 0, "split_item": 3}
    bias = drawn(3, 8, dtype=torch.float16 if dtype is torch.float16 else torch.float32, seed=7)
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
        "npu_gelu": [((x,), {}), ((x,), {"approximate": "tanh"})],
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
        "npu_grouped_matmul": [
            (([x[0]], [weight]), {**groups, "group_list": torch.tensor([1, 0, 4]), "group_list_type": 1}),
            (([x[0]], [weight]), {**groups, "group_list": torch.tensor([1, 3, 5]), "bias": [bias]}),
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
        together = zip(expected, found, strict=True) if isinstance(expected, (tuple, list)) else [(expected, found)]
        for left, right in together:
            assert torch.equal(left, right)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("sizes", [[1, 0, 0, 0], [0, 0, 0, 3], [2, 0, 5, 1], [0, 9, 9, 46], [0, 9, 9, 47]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_experts_of_few_rows_become_a_loop_that_errs_as_the_kernel_does(dtype, sizes, cumulative, biased, turned):
    """Sums in another order: as near to the truth, and rounded once. Beyond 64 rows it is an op, in float32 beyond 16
    and where weights are not turned."""
    op, groups = torch.ops.npu.npu_grouped_matmul.default, torch.tensor(sizes)
    x, weight = drawn(sum(sizes), 48, dtype=dtype), drawn(4, 20, 48, dtype=dtype, seed=1).transpose(1, 2)
    weight = weight if turned else weight.contiguous()
    bias = drawn(4, 20, dtype=torch.float16 if dtype is torch.float16 else torch.float32, seed=2) if biased else None
    form = {"group_type": 0, "split_item": 3, "group_list_type": int(not cumulative)}
    form |= {"group_list": groups.cumsum(0) if cumulative else groups, "bias": [bias] if biased else None}
    called = partial(decompositions()[op], **{name: form[name] for name in ("group_type", "split_item")})
    given = {name: value for name, value in form.items() if name not in called.keywords}
    traced = make_fx(lambda x, weight, given: called([x], [weight], **given), tracing_mode="fake")(x, weight, given)
    is_loop = not any("grouped_product" in str(node.target) for node in traced.graph.nodes)
    few = (16 if turned else 0) if dtype is torch.float32 else 64
    assert is_loop == (sum(sizes) <= few)
    found, kernel = decompositions()[op]([x], [weight], **form)[0], op([x], [weight], **form)[0]
    rows = torch.arange(4).repeat_interleave(groups)
    truth = torch.einsum("mk,mkn->mn", x.double(), weight[rows].double())
    if biased:
        truth = truth + bias[rows].double()
    no_further(found, kernel, truth, 49 if dtype is torch.float32 else 1)
    once = torch.finfo(dtype).eps / 2 * truth.abs() + 3e-5  # one rounding, and what float32 loses in the sum
    assert found.is_contiguous() and ((found.double() - truth).abs() <= once).all()


@pytest.mark.parametrize("op", list(decompositions()), ids=str)
def test_nothing_is_left_of_the_op_in_a_decomposed_graph(op):
    for arguments, options in calls(torch.float32)[op._schema.name.removeprefix("npu::")]:
        tensors = {name: option for name, option in options.items() if isinstance(option, torch.Tensor | list)}
        called = partial(op, **{name: option for name, option in options.items() if name not in tensors})

        def run(arguments, tensors):
            return called(*arguments, **tensors)  # noqa: B023 - traced within this turn

        traced = make_fx(run, decomposition_table=decompositions(), tracing_mode="fake")
        graph = traced(arguments, tensors).graph
        targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
        assert targets and not any(target.startswith("npu.") for target in targets)
