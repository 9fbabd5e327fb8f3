"""The ops under `torch.ops.npu`: schemas of the wheel, fake kernels, the stand-in namespace."""

import subprocess
import sys

import pytest
import torch

from porter.npu import ContractError, chip, current_chip, implemented, torch_npu

# Typed from the list of schemas that torch_npu 2.13.0 registers.
ATTENTION = (
    "(Tensor query, Tensor key, Tensor value, *, Tensor? pse_shift=None, Tensor? atten_mask=None, "
    "SymInt[]? actual_seq_lengths=None, SymInt[]? actual_seq_lengths_kv=None, Tensor? dequant_scale1=None, "
    "Tensor? quant_scale1=None, Tensor? dequant_scale2=None, Tensor? quant_scale2=None, Tensor? quant_offset2=None, "
    "Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, Tensor? key_antiquant_scale=None, "
    "Tensor? key_antiquant_offset=None, Tensor? value_antiquant_scale=None, Tensor? value_antiquant_offset=None, "
    "Tensor? block_table=None, Tensor? query_padding_size=None, Tensor? kv_padding_size=None, "
    "Tensor? key_shared_prefix=None, Tensor? value_shared_prefix=None, SymInt[]? actual_shared_prefix_len=None, "
    "Tensor? query_rope=None, Tensor? key_rope=None, Tensor? key_rope_antiquant_scale=None, int num_heads=1, "
    'float scale=1., int pre_tokens=2147483647, int next_tokens=2147483647, str input_layout="BSH", '
    "int num_key_value_heads=0, int sparse_mode=0, int inner_precise=0, int block_size=0, int antiquant_mode=0, "
    "int key_antiquant_mode=0, int value_antiquant_mode=0, bool softmax_lse_flag=False) -> (Tensor, Tensor)"
)
EPSILON = "float epsilon=9.9999999999999995e-07"
SCHEMAS = {
    "npu_rms_norm": f"(Tensor input, Tensor gamma, {EPSILON}) -> (Tensor, Tensor)",
    "npu_gemma_rms_norm": f"(Tensor input, Tensor gamma, {EPSILON}) -> (Tensor, Tensor)",
    "npu_add_rms_norm": f"(Tensor x1, Tensor x2, Tensor gamma, {EPSILON}) -> (Tensor, Tensor, Tensor)",
    "npu_add_rms_norm_cast": f"(Tensor x1, Tensor x2, Tensor gamma, {EPSILON}) -> (Tensor, Tensor, Tensor, Tensor)",
    "npu_rotary_mul": '(Tensor input, Tensor r1, Tensor r2, str rotary_mode="half", Tensor? rotate=None) -> Tensor',
    "npu_apply_rotary_pos_emb": '(Tensor query, Tensor key, Tensor cos, Tensor sin, str layout="BSND", '
    'str rotary_mode="half") -> (Tensor, Tensor)',
    "npu_interleave_rope": "(Tensor x, Tensor cos, Tensor sin) -> Tensor",
    "npu_fused_infer_attention_score": ATTENTION,
    "npu_swiglu": "(Tensor input, int dim=-1) -> Tensor",
    "npu_gelu": '(Tensor input, *, str approximate="none") -> Tensor',
    "npu_geglu": "(Tensor input, int dim=-1, int approximate=1, bool activate_left=False) -> (Tensor, Tensor)",
    "npu_clipped_swiglu": "(Tensor x, *, Tensor? group_index=None, int dim=-1, float alpha=1.702, float limit=7., "
    "float bias=1., bool interleaved=True) -> Tensor",
    "scatter_update": "(Tensor input, Tensor indices, Tensor updates, int axis) -> Tensor",
    "scatter_update_": "(Tensor(a!) input, Tensor indices, Tensor updates, int axis) -> Tensor(a!)",
    "npu_scatter_nd_update": "(Tensor input, Tensor indices, Tensor updates) -> Tensor",
    "npu_scatter_nd_update_": "(Tensor(a!) input, Tensor indices, Tensor updates) -> Tensor(a!)",
    "npu_mm_all_reduce_base": '(Tensor x1, Tensor x2, str hcom, *, str reduce_op="sum", Tensor? bias=None, '
    "Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, Tensor? x3=None, Tensor? dequant_scale=None, "
    "Tensor? pertoken_scale=None, Tensor? comm_quant_scale_1=None, Tensor? comm_quant_scale_2=None, "
    "int antiquant_group_size=0, int comm_turn=0, int[]? group_sizes=None, int? y_dtype=None, int? x1_dtype=None, "
    "int? x2_dtype=None, int? dequant_scale_dtype=None, int? pertoken_scale_dtype=None, int comm_quant_mode=0, "
    "str? comm_mode=None) -> Tensor",
    "npu_moe_gating_top_k_softmax": "(Tensor x, Tensor? finished=None, int k=1) -> (Tensor, Tensor, Tensor)",
    "npu_moe_gating_top_k": "(Tensor x, int k, *, Tensor? bias=None, Tensor? input_ids=None, Tensor? tid2eid=None, "
    "int k_group=1, int group_count=1, int group_select_mode=0, int renorm=0, int norm_type=0, bool out_flag=False, "
    "float routed_scaling_factor=1., float eps=9.9999999999999995e-21) -> (Tensor, Tensor, Tensor)",
    "npu_moe_init_routing_v2": "(Tensor x, Tensor expert_idx, *, Tensor? scale=None, Tensor? offset=None, "
    "int active_num=-1, int expert_capacity=-1, int expert_num=-1, int drop_pad_mode=0, int expert_tokens_num_type=0, "
    "bool expert_tokens_num_flag=False, int quant_mode=-1, int[2] active_expert_range=[], int row_idx_type=0, "
    "int? x_dtype=None) -> (Tensor, Tensor, Tensor, Tensor)",
    "npu_grouped_matmul": "(Tensor[] x, Tensor[] weight, *, Tensor[]? bias=None, Tensor[]? scale=None, "
    "Tensor[]? offset=None, Tensor[]? antiquant_scale=None, Tensor[]? antiquant_offset=None, "
    "Tensor[]? per_token_scale=None, Tensor? group_list=None, Tensor[]? activation_input=None, "
    "Tensor[]? activation_quant_scale=None, Tensor[]? activation_quant_offset=None, int? split_item=0, "
    "int? group_type=None, int? group_list_type=0, int? act_type=0, int[]? tuning_config=None, "
    "int? output_dtype=None, int? x_dtype=None, int? weight_dtype=None, int? scale_dtype=None, "
    "int? per_token_scale_dtype=None) -> Tensor[]",
    "npu_moe_finalize_routing": "(Tensor expanded_permuted_rows, Tensor? skip1, Tensor? skip2, Tensor? bias, "
    "Tensor? scales, Tensor expanded_src_to_dst_row, Tensor? export_for_source_row, int? drop_pad_mode=0, "
    "int? k=1) -> Tensor",
}

half = torch.bfloat16
POSITIONS = torch.tensor([1, 2])
OPCHECKS = {
    "npu_rms_norm": lambda: (torch.randn(2, 3, 16), torch.randn(16)),
    "npu_gemma_rms_norm": lambda: (torch.randn(2, 3, 16, dtype=half), torch.randn(16)),
    "npu_add_rms_norm": lambda: (torch.randn(2, 3, 16), torch.randn(2, 3, 16), torch.randn(16)),
    "npu_add_rms_norm_cast": lambda: (
        torch.randn(2, 3, 16, dtype=half), torch.randn(2, 3, 16, dtype=half), torch.randn(16, dtype=half)),
    "npu_rotary_mul": lambda: (torch.randn(2, 3, 4, 8), torch.randn(2, 3, 1, 8), torch.randn(2, 3, 1, 8)),
    "npu_interleave_rope": lambda: (torch.randn(2, 3, 4, 64), torch.randn(2, 1, 4, 64), torch.randn(2, 1, 4, 64)),
    "npu_swiglu": lambda: (torch.randn(2, 3, 16), -1),
    "npu_gelu": lambda: (torch.randn(2, 3, 16, dtype=half),),
    "npu_geglu": lambda: (torch.randn(2, 3, 16, dtype=half), -1, 1, True),
    "npu_clipped_swiglu": lambda: (torch.randn(2, 3, 16, dtype=half),),
    "npu_fused_infer_attention_score": lambda: (
        torch.randn(2, 3, 32), torch.randn(2, 5, 16), torch.randn(2, 5, 16)),
    "scatter_update": lambda: (torch.zeros(2, 8, 4), POSITIONS, torch.randn(2, 3, 4), 1),
    "npu_scatter_nd_update": lambda: (torch.zeros(8, 4), POSITIONS[:, None], torch.randn(2, 4)),
    "npu_moe_gating_top_k_softmax": lambda: (torch.randn(5, 4), None, 2),
    "npu_moe_gating_top_k": lambda: (torch.randn(5, 12, dtype=half), 2),
    "npu_moe_init_routing_v2": lambda: (torch.randn(3, 8), torch.tensor([[3, 0], [0, 1], [3, 1]], dtype=torch.int32)),
    "npu_grouped_matmul": lambda: ([torch.randn(6, 8)], [torch.randn(3, 8, 4)]),
    "npu_moe_finalize_routing": lambda: (
        torch.randn(6, 8), None, None, None, torch.randn(3, 2), torch.tensor([4, 0, 1, 2, 5, 3], dtype=torch.int32),
        None, 2),
}  # fmt: skip
OPTIONS = {
    "npu_fused_infer_attention_score": {"num_heads": 4, "num_key_value_heads": 2, "input_layout": "BSH"},
    "npu_moe_gating_top_k": {"group_count": 3, "k_group": 2, "group_select_mode": 1, "norm_type": 1, "out_flag": True},
    "npu_moe_init_routing_v2": {
        "scale": torch.arange(3.0), "active_num": 6, "expert_num": 4, "expert_tokens_num_type": 1,
        "expert_tokens_num_flag": True, "active_expert_range": [0, 4]},
    "npu_grouped_matmul": {
        "group_list": torch.tensor([4, 0, 2]), "split_item": 2, "group_type": 0, "group_list_type": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_the_wheel_s(name: str) -> None:
    assert str(getattr(torch.ops.npu, name).default._schema) == f"npu::{name}{SCHEMAS[name]}"


def test_every_op_has_a_schema_here_and_a_name_in_the_stand_in() -> None:
    assert set(implemented()) == set(SCHEMAS)
    for name in implemented():
        assert getattr(torch_npu, name).__name__ == name
        assert getattr(torch_npu, name).__doc__


@pytest.mark.parametrize("name", OPCHECKS)
@pytest.mark.filterwarnings("ignore")
def test_opcheck(name: str) -> None:
    options = OPTIONS.get(name, {})
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(getattr(torch.ops.npu, name).default, OPCHECKS[name](), options, test_utils=tests)


@pytest.mark.parametrize("name", ["scatter_update_", "npu_scatter_nd_update_"])
def test_opcheck_in_place(name: str) -> None:
    overload = getattr(torch.ops.npu, name).default
    torch.library.opcheck(overload, OPCHECKS[name[:-1]](), test_utils=("test_schema", "test_faketensor"))


def test_unknown_op_says_which_exist() -> None:
    with pytest.raises(AttributeError, match=r"no CPU kernel for 'npu_mrope'; it has npu_rms_norm, .*npu_swiglu"):
        torch_npu.npu_mrope  # noqa: B018


def test_chip_lasts_for_the_block() -> None:
    assert current_chip() == "Ascend910B"
    with chip("Ascend950"):
        assert current_chip() == "Ascend950"
    assert current_chip() == "Ascend910B"
    with pytest.raises(ValueError, match=r"chip must be one of Ascend910B, .*, got 'Ascend910'"), chip("Ascend910"):
        pass


def test_contract_error_is_a_runtime_error_with_its_parts() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch_npu.npu_swiglu(torch.zeros(2, 3))
    error = caught.value
    assert isinstance(error, ContractError)
    assert (error.op, error.argument, error.got) == ("npu_swiglu", "input", (2, 3))


@pytest.mark.parametrize("grad_mode", [True, False])
def test_forward_takes_parameters_that_require_grad(grad_mode: bool) -> None:
    gamma = torch.nn.Parameter(torch.ones(16))
    cache = torch.zeros(2, 8, 16)
    with torch.set_grad_enabled(grad_mode):
        x = torch.randn(2, 3, 16) * gamma
        y, _, total = torch_npu.npu_add_rms_norm(x, x, gamma)
        torch_npu.npu_swiglu(y)
        torch_npu.scatter_update_(cache, POSITIONS, total, 1)
        torch_npu.npu_scatter_nd_update_(cache, POSITIONS[:, None] - 1, total.new_zeros(2, 8, 16))
        assert not cache.requires_grad, "a cache must not drag the history of what was written to it along"
        q = (torch.randn(1, 2, 2, 64) * x.sum()).clone()
        table = torch.randn(1, 2, 1, 64)
        torch_npu.npu_rotary_mul(q, table, table)
        torch_npu.npu_apply_rotary_pos_emb(q, q.clone(), table, table)
        torch_npu.npu_fused_infer_attention_score(y, y, y, num_heads=2, scale=0.5)


def test_wheel_s_schemas_are_left_alone() -> None:
    """In a process where npu ops are defined already, only CPU kernels are added."""
    program = """
import torch
wheel = torch.library.Library("npu", "DEF")
wheel.define("npu_swiglu(Tensor input, int dim=-1) -> Tensor")
torch.library.register_fake("npu::npu_swiglu", lambda input, dim=-1: input.new_empty(7), lib=wheel)
from porter.npu import torch_npu
assert torch_npu.npu_swiglu(torch.ones(2, 4)).shape == (2, 2)
assert torch_npu.npu_swiglu(torch.ones(2, 4, device="meta")).shape == (7,)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
