"""npu_mm_all_reduce_base on a group of one: what it computes, what it refuses, how a graph sees it."""

import pytest
import torch
from torch import distributed

from porter.npu import ContractError, chip, torch_npu
from tests.error_rule import no_further

REFUSED = {
    "an empty x1": (lambda x1, x2: (x1[:, :0], x2), {}, r"x1 must not be empty, got \(2, 0, 8\)"),
    "a transposed x1": (lambda x1, x2: (x1.transpose(0, 1), x2), {}, r"x1 must not be transposed, got strides"),
    "an empty x2": (lambda x1, x2: (x1, x2[:, :0]), {}, r"x2 must not be empty"),
    "a strided x2": (lambda x1, x2: (x1, x2.repeat(1, 2)[:, ::2]), {}, r"x2 must be contiguous, or the transpose"),
    "another k": (lambda x1, x2: (x1, x2[:4]), {}, r"x2 must have the last size of x1 \(2, 3, 8\) first, got \(4, 5\)"),
    "four dimensions": (lambda x1, x2: (x1[None], x2), {}, r"x1 must have 2 to 3 dimensions"),
    "another dtype": (lambda x1, x2: (x1, x2.half()), {}, r"x2 must have the dtype of x1"),
    "float64": (lambda x1, x2: (x1.double(), x2.double()), {}, r"x1 must be one of torch.float16"),
    "another reduce": (lambda x1, x2: (x1, x2), {"reduce_op": "max"}, r"reduce_op must be 'sum', got 'max'"),
    "turns": (lambda x1, x2: (x1, x2), {"comm_turn": 1}, r"comm_turn must be 0, got 1"),
    "a bias of rows": (lambda x1, x2: (x1, x2), {"bias": torch.ones(1, 5)}, r"bias must have one dimension"),
    "a narrow x3": (lambda x1, x2: (x1, x2), {"x3": torch.ones(2, 3, 1)}, r"x3 must have the shape of the result"),
    "scales": (lambda x1, x2: (x1, x2), {"dequant_scale": torch.ones(5)}, r"dequant_scale must be left out"),
    "group size": (lambda x1, x2: (x1, x2), {"antiquant_group_size": 32}, r"antiquant_group_size must be left out"),
}


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield distributed.group.WORLD.group_name
    distributed.destroy_process_group()


@pytest.fixture
def matrices():
    torch.manual_seed(0)
    return torch.randn(2, 3, 8), torch.randn(5, 8).t()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_product_bias_and_x3_rounded_once(group, matrices, dtype):
    x1, x2 = (matrix.to(dtype) for matrix in matrices)
    bias, x3 = torch.randn(5).to(dtype), torch.randn(2, 3, 5).to(dtype)
    exact = x1.double() @ x2.double() + bias.double() + x3.double()
    out = torch_npu.npu_mm_all_reduce_base(x1, x2, group, bias=bias, x3=x3)
    assert out.dtype == dtype and out.is_contiguous()
    no_further(out, (x1 @ x2 + bias) + x3, exact, roundings=8 + 2 if dtype == torch.float32 else 1)
    flat = torch_npu.npu_mm_all_reduce_base(x1.flatten(0, 1), x2.contiguous(), group)
    assert flat.shape == (6, 5)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(group, matrices, case):
    change, options, message = REFUSED[case]
    with pytest.raises(ContractError, match=f"npu_mm_all_reduce_base: {message}"):
        torch_npu.npu_mm_all_reduce_base(*change(*matrices), group, **options)
    with pytest.raises(ContractError, match=message):  # and where it is traced
        meta = [matrix.to("meta") for matrix in matrices]
        torch_npu.npu_mm_all_reduce_base(*change(*meta), group, **options)


def test_a_group_that_is_not_there_and_a_chip_without_the_op(group, matrices):
    with pytest.raises(ContractError, match=r"hcom must name a process group of this process .*, got 'nobody'"):
        torch_npu.npu_mm_all_reduce_base(*matrices, "nobody")
    with chip("Ascend310P"), pytest.raises(ContractError, match="the chip must be one of Ascend910B, got Ascend310P"):
        torch_npu.npu_mm_all_reduce_base(*matrices, group)


@pytest.mark.filterwarnings("ignore")
def test_opcheck(group, matrices):
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    op = torch.ops.npu.npu_mm_all_reduce_base.default
    torch.library.opcheck(op, (*matrices, group), {"bias": torch.ones(5)}, test_utils=tests)
