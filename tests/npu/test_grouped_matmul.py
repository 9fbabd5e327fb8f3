"""npu_grouped_matmul against one product an expert."""

import pytest
import torch

from porter.npu import ContractError, chip, torch_npu
from tests.error_rule import no_further

bf16, f32 = torch.bfloat16, torch.float32
SIZES = {
    "spread": [2, 1, 4, 3],
    "experts without a token": [0, 5, 0, 2],
    "all to the first": [6, 0, 0, 0],
    "all to the last": [0, 0, 0, 9],
    "one token": [0, 0, 1, 0],
    "no token": [0, 0, 0, 0],
}


def product(x, weight, sizes, bias=None, cumulative=False, **options):
    groups = torch.tensor(sizes)
    named = {"split_item": 2, "group_type": 0, "group_list_type": int(not cumulative)} | options
    out = torch_npu.npu_grouped_matmul(
        [x],
        [weight],
        bias=None if bias is None else [bias],
        group_list=groups.cumsum(0) if cumulative else groups,
        **named,
    )
    assert isinstance(out, list) and len(out) == 1
    return out[0]


def one_by_one(x, weight, sizes, bias=None):
    parts = []
    for expert, rows in enumerate(x.split(sizes)):
        part = rows @ weight[expert]
        parts.append(part if bias is None else part + bias[expert])
    return torch.cat(parts)


def drawn(dtype, sizes, turned, k=24, n=10):
    x, weight = torch.randn(sum(sizes), k).to(dtype), torch.randn(len(sizes), k, n).to(dtype)
    return x, weight.transpose(1, 2).contiguous().transpose(1, 2) if turned else weight


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("turned", [False, True], ids=["as it is", "transposed"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_expert_multiplies_its_rows(dtype, sizes, turned, cumulative):
    x, weight = drawn(dtype, sizes, turned)
    found = product(x, weight, sizes, cumulative=cumulative)
    assert found.dtype == dtype and found.shape == (len(x), 10) and found.is_contiguous()
    if len(x):
        no_further(found, one_by_one(x, weight, sizes), one_by_one(x.double(), weight.double(), sizes), 24)


@pytest.mark.parametrize("exact", [True, False], ids=["of the model's dtype", "of float32"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_bias_is_added_before_the_only_rounding(dtype, sizes, exact):
    """A bias beside bfloat16 is float32; one that bfloat16 cannot hold is not to be rounded to it."""
    x, weight = drawn(dtype, sizes, turned=False)
    bias = torch.randn(len(sizes), 10).to(dtype if exact or dtype is not bf16 else f32)
    found = product(x, weight, sizes, bias.float() if dtype is bf16 else bias)
    if not len(x):
        assert found.shape == (0, 10)
        return
    truth = one_by_one(x.double(), weight.double(), sizes, bias.double())
    no_further(found, one_by_one(x.float(), weight.float(), sizes, bias.float()).to(dtype), truth, 26)
    ulp = torch.finfo(dtype).eps * truth.abs() + (2e-5 if dtype is f32 else 1e-5)
    assert ((found.double() - truth).abs() <= ulp).all()


@pytest.mark.parametrize("turned", [False, True], ids=["as it is", "transposed"])
@pytest.mark.parametrize("sizes", [[1, 1, 1, 0], [1, 1, 0, 0], [2, 5, 1, 0], [0, 0, 3, 1]], ids=str)
def test_one_call_and_one_for_each_expert_compute_the_same(monkeypatch, dtype, sizes, turned):
    """Where most experts have rows one call computes all, but for 16 bits of several rows; no empty one is read."""
    calls, at_once = [], torch.nn.functional.grouped_mm
    monkeypatch.setattr(torch.nn.functional, "grouped_mm", lambda *a, **o: calls.append(a) or at_once(*a, **o))
    x, weight = drawn(dtype, sizes, turned, n=16)
    unread = [expert for expert, size in enumerate(sizes) if not size]
    truth = one_by_one(x.double(), weight.double(), sizes)
    eager = one_by_one(x, weight, sizes)
    weight[unread] = float("nan")
    found = product(x, weight, sizes)
    most = sizes.count(0) == 1
    whole = dtype is f32 or (max(sizes) == 1 and (turned or dtype is bf16))
    assert len(calls) == int(most and whole) and found.is_contiguous()
    no_further(found, eager, truth, 24)


def test_golden():
    x, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[[1.0], [1.0]], [[10.0], [0.0]]])
    for cumulative in (False, True):
        assert product(x, weight, [1, 2], cumulative=cumulative).flatten().tolist() == [3, 30, 50]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [bf16, torch.float16], ids=str)
@pytest.mark.parametrize("rows", [1, 4, 5, 40])
def test_16_bits_are_summed_in_float32(dtype, turned, rows):
    """A sum in 16 bits would lose the small terms: 256 + 4095 * 1/16 is 512 less a 16th."""
    x = torch.full((rows, 4096), 1.0).to(dtype)
    weight = torch.full((1, 4096, 2), 1 / 16).to(dtype)
    weight[0, 0] = 256
    weight = weight.transpose(1, 2).contiguous().transpose(1, 2) if turned else weight
    found = product(x, weight, [rows], cumulative=True)
    assert found.eq(torch.tensor(511.9375).to(dtype)).all()


def test_one_result_by_either_name():
    x, weight = drawn(f32, [2, 3], turned=False)
    assert torch.equal(product(x, weight, [2, 3], split_item=3), product(x, weight, [2, 3]))


def test_an_expert_without_a_token_is_not_read():
    x, weight = drawn(f32, [1, 0, 0, 0], turned=True)
    weight[1:] = float("nan")
    assert product(x, weight, [1, 0, 0, 0]).isfinite().all()


X, W, G = torch.zeros(6, 4), torch.zeros(3, 4, 5), torch.tensor([1, 2, 3])
FORM = {"group_list": G, "group_list_type": 1, "split_item": 2, "group_type": 0}


def call(x=X, weight=W, **options):
    return lambda: torch_npu.npu_grouped_matmul([x], [weight], **FORM | options)


REFUSED = [
    (lambda: torch_npu.npu_grouped_matmul([X, X], [W], **FORM), "x must be a list of one tensor: more"),
    (lambda: torch_npu.npu_grouped_matmul([X], [W, W], **FORM), "weight must be a list of one tensor"),
    (call(bias=[X, X]), "bias must be a list of one tensor"),
    (call(X.double()), "x must be one of torch.float16"),
    (call(X[None]), "x must have 2 dimensions"),
    (call(torch.zeros(4, 6).t()), "x must not be transposed, got strides (1, 6)"),
    (call(weight=W.bfloat16()), "weight must have the dtype of x (torch.float32), got torch.bfloat16"),
    (call(weight=W[0]), "weight must have 3 dimensions"),
    (call(weight=torch.zeros(3, 4, 10)[..., ::2]), "weight must be contiguous, or its last two"),
    (call(weight=torch.zeros(3, 5, 4)), "weight must be (E, K, N) with K of x (6, 4), got (3, 5, 4)"),
    (call(torch.zeros(6, 65536), torch.zeros(3, 65536, 1)), "x must have a last size in memory under 65536"),
    (call(torch.zeros(6, 1), torch.zeros(3, 1, 65536)), "weight must have a last size in memory under 65536"),
    (call(bias=[X]), "bias must be (E, N) of weight (3, 4, 5), got (6, 4)"),
    (call(X.bfloat16(), W.bfloat16(), bias=[torch.zeros(3, 5).bfloat16()]), "bias must be one of torch.float32, got"),
    (call(X.half(), W.half(), bias=[torch.zeros(3, 5)]), "bias must be one of torch.float16, got torch.float32"),
    (call(split_item=0), "split_item must be 2 or 3 for one x, one weight and one result, got 0"),
    (call(group_type=None), "group_type must be 0 for one x, one weight and one result, got None"),
    (call(group_type=2), "group_type must be 0"),
    (call(group_list_type=2), "group_list_type must be 0 or 1"),
    (call(act_type=5), "act_type must be 0 or None"),
    (call(group_list=None), "group_list must be given"),
    (call(group_list=G.int()), "group_list must be one of torch.int64"),
    (call(group_list=G[:2]), "group_list must have a value for each expert of weight (3, 4, 5), got (2,)"),
    (call(X, torch.zeros(1025, 4, 1), group_list=torch.zeros(1025).long()), "group_list must have at most 1024 groups"),
    (call(weight=W[:1], group_list=G[2:] * 2), "group_list must have two groups or more with group_list_type 1"),
    (call(group_list=G + 1), "rows of x, none negative (not checked on the device), got [2, 3, 4]"),
    (call(group_list=G - 2), "group_list must make up the 6 rows of x"),
    (call(group_list=torch.tensor([-1, 4, 3])), "none negative"),
    (call(group_list=torch.tensor([4, 2, 6]), group_list_type=0), "none negative"),
    (call(group_list=torch.tensor([1, 2, 5]), group_list_type=0), "must make up the 6 rows of x"),
    (call(scale=[X]), "scale must be left out: there is no quantized kernel here"),
    (call(output_dtype=1), "output_dtype must be left out"),
    (call(tuning_config=[4]), "tuning_config must be left out"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(make, message):
    with pytest.raises(ContractError) as caught:
        make()
    assert message in str(caught.value)


def test_310p_is_refused():
    with chip("Ascend310P"), pytest.raises(ContractError, match="the chip must be one of Ascend910B, Ascend910_93"):
        call()()


@torch.no_grad()
def test_a_weight_that_lies_otherwise_is_refused_after_one_that_was_taken():
    call(weight=W.transpose(1, 2).contiguous().transpose(1, 2))()
    with pytest.raises(ContractError, match="weight must be contiguous"):
        call(weight=torch.zeros(4, 3, 5).transpose(0, 1))()
