"""Rows to their experts and back, against lists of rows moved one by one."""

import pytest
import torch

from porter.npu import ContractError, chip, torch_npu
from tests.error_rule import no_further

E = 5
CHOICES = {
    "spread": [[3, 0], [0, 4], [3, 1], [4, 3]],
    "an expert without a token": [[0, 1], [3, 4], [1, 0]],
    "one token": [[2, 4]],
    "one token, one choice": [[3]],
    "all to one expert": [[2], [2], [2]],
    "the same expert twice": [[1, 1], [4, 1]],
    "last expert alone": [[4], [4]],
}


def route(x, choices, *, active_range=(0, E), expert_num=E, **options):
    experts = torch.tensor(choices, dtype=torch.int32)
    named = {"active_num": experts.numel(), "expert_tokens_num_type": 1, "expert_tokens_num_flag": True} | options
    return torch_npu.npu_moe_init_routing_v2(
        x, experts, expert_num=expert_num, active_expert_range=list(active_range), **named
    )


def sorted_choices(choices, start=0, end=E):
    """(expert, place in expert_idx) of each choice in the range, by expert and then by place."""
    flat = [expert for row in choices for expert in row]
    return sorted((expert, place) for place, expert in enumerate(flat) if start <= expert < end)


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_rows_are_sorted_by_expert_and_then_by_place(dtype, choices):
    x, k = torch.randn(len(choices), 6).to(dtype), len(choices[0])
    order = sorted_choices(choices)
    rows, places, counts, _ = route(x, choices)
    assert rows.dtype == dtype and places.dtype == torch.int32 and counts.dtype == torch.int64
    assert torch.equal(rows, torch.stack([x[place // k] for _, place in order]))
    assert [order[place][1] for place in places.tolist()] == list(range(len(order)))
    flat = [expert for row in choices for expert in row]
    assert counts.tolist() == [flat.count(expert) for expert in range(E)]
    scattered = route(x, choices, row_idx_type=1)[1]
    assert scattered.dtype == torch.int32 and scattered.tolist() == [place for _, place in order]
    ends = route(x, choices, expert_tokens_num_type=0)[2]
    assert ends.dtype == torch.int64 and ends.tolist() == [sum(e <= expert for e in flat) for expert in range(E)]


def test_golden():
    """Worked out by hand: experts 0 0 1 3 3 3 4 4 of choices 1 2 5 0 4 7 3 6."""
    x = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    rows, places, counts, _ = route(x, CHOICES["spread"])
    assert rows.flatten().tolist() == [10, 20, 30, 10, 30, 40, 20, 40]
    assert places.tolist() == [3, 0, 1, 6, 4, 2, 7, 5] and counts.tolist() == [2, 1, 0, 3, 2]


@pytest.mark.parametrize("active_range", [(0, 2), (1, 4), (2, 3), (3, E), (0, E)])
@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_choices_outside_the_range_come_last_and_have_no_place(choices, active_range):
    start, end = active_range
    x, k, order = torch.randn(len(choices), 3), len(choices[0]), sorted_choices(choices, *active_range)
    rows, places, counts, scales = route(x, choices, active_range=active_range, scale=torch.arange(1.0, len(x) + 1))
    there = len(order)
    assert rows.shape == (len(x) * k, 3) and rows[there:].isnan().all() and scales[there:].isnan().all()
    assert torch.equal(rows[:there], x[[place // k for _, place in order]])
    assert scales[:there].tolist() == [place // k + 1 for _, place in order]
    wanted = [-1] * (len(x) * k)
    for index, (_, place) in enumerate(order):
        wanted[place] = index
    assert places.tolist() == wanted
    assert counts.tolist() == [sum(e == expert for e, _ in order) for expert in range(start, end)]
    scattered = route(x, choices, active_range=active_range, row_idx_type=1)[1]
    assert scattered[:there].tolist() == [place for _, place in order] and scattered[there:].eq(-1).all()


@pytest.mark.parametrize("active_num", [-1, 0])
def test_all_choices_in_other_words(active_num):
    x = torch.randn(4, 3)
    torch.testing.assert_close(
        route(x, CHOICES["spread"], active_num=active_num)[:3], route(x, CHOICES["spread"])[:3], atol=0, rtol=0
    )


def test_no_token_has_no_rows():
    experts = torch.zeros(0, 2, dtype=torch.int32)
    named = {"expert_tokens_num_type": 1, "expert_tokens_num_flag": True, "active_expert_range": [0, E]}
    rows, places, counts, _ = torch_npu.npu_moe_init_routing_v2(torch.randn(0, 3), experts, expert_num=E, **named)
    assert rows.shape == (0, 3) and places.shape == (0,) and counts.tolist() == [0] * E


def test_without_a_scale_there_is_none_to_use():
    assert route(torch.randn(4, 3), CHOICES["spread"])[3].isnan().all()


def test_what_is_routed_comes_back_to_its_token():
    x = torch.randn(4, 6)
    rows, places, _, _ = route(x, CHOICES["spread"])
    weights = torch.tensor([[0.25, 0.75]] * 4)
    torch.testing.assert_close(torch_npu.npu_moe_finalize_routing(rows, None, None, None, weights, places, None, 2), x)


def finalized(rows, skips, bias, scales, places, experts, mode, k):
    """In fp64, one choice at a time."""
    tokens = len(places) // k
    flat = rows.double().reshape(-1, rows.shape[-1])
    out = torch.stack([torch.zeros(tokens, flat.shape[-1]).double(), *(skip.double() for skip in skips)]).sum(0)
    for token in range(tokens):
        for choice in range(k):
            place = int(places[token * k + choice if mode >= 2 else choice * tokens + token])
            if place >= 0:
                row = flat[place] + (0 if bias is None else bias[experts[token, choice]].double())
                out[token] += row * (1 if scales is None else scales[token, choice].double())
    return out


def eagerly(rows, skips, bias, scales, places, experts, mode, k):
    """In rows' dtype, rounding each step."""
    tokens = len(places) // k
    total = None
    for choice in range(k):
        index = places.view(tokens, k)[:, choice] if mode >= 2 else places.view(k, tokens)[choice]
        part = rows.reshape(-1, rows.shape[-1])[index.clamp(min=0).long()]
        part = part if bias is None else part + bias[experts[:, choice].long()]
        part = part if scales is None else part * scales[:, choice, None]
        part = part.masked_fill((index < 0)[:, None], 0)
        total = part if total is None else total + part
    for skip in skips:
        total = total + skip
    return total


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("skips", [0, 1, 2])
@pytest.mark.parametrize(("tokens", "k"), [(7, 3), (1, 2), (4, 1)])
def test_finalize(dtype, mode, scaled, biased, skips, tokens, k):
    shape = (E, 6, 8) if mode in (1, 3) else (tokens * k, 8)
    rows = torch.randn(shape).to(dtype)
    places = torch.randperm(rows[..., 0].numel())[: tokens * k].int()
    if mode in (1, 3):
        places[::3] = -1
    scales = torch.rand(tokens, k).to(dtype) if scaled else None
    bias, experts = torch.randn(E, 8).to(dtype), torch.randint(E, (tokens, k), dtype=torch.int32)
    added = [torch.randn(tokens, 8).to(dtype) for _ in range(skips)]
    arguments = (added, bias if biased else None, scales, places, experts, mode, k)
    found = torch_npu.npu_moe_finalize_routing(
        rows, *[*added, None, None][:2], bias if biased else None, scales, places, experts if biased else None, mode, k
    )
    assert found.is_contiguous()
    no_further(found, eagerly(rows, *arguments), finalized(rows, *arguments), 3 * k)


def test_bfloat16_sums_are_rounded_once_and_float16_each_step():
    for dtype, once in ((torch.bfloat16, True), (torch.float16, False)):
        rows, scales = torch.randn(40, 16).to(dtype), torch.rand(10, 4).to(dtype)
        places = torch.randperm(40).int()
        found = torch_npu.npu_moe_finalize_routing(rows, None, None, None, scales, places, None, 2)
        picked = rows[places.long()].view(10, 4, 16)
        wide = (picked.float() * scales.float()[..., None]).unbind(1)
        stepwise = (picked * scales[..., None]).unbind(1)
        rounded_once = (((wide[0] + wide[1]) + wide[2]) + wide[3]).to(dtype)
        rounded_each = ((stepwise[0] + stepwise[1]) + stepwise[2]) + stepwise[3]
        assert not torch.equal(rounded_once, rounded_each)
        assert torch.equal(found, rounded_once if once else rounded_each)


def test_finalize_golden():
    rows, places = torch.tensor([[1.0], [10.0], [100.0], [1000.0]]), torch.tensor([3, 0, 2, 1], dtype=torch.int32)
    scales = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    by_row = torch_npu.npu_moe_finalize_routing(rows, None, None, None, scales, places, None, 2)
    by_column = torch_npu.npu_moe_finalize_routing(rows, None, None, None, scales, places, None)
    assert by_row.flatten().tolist() == [1000 + 2 * 1, 3 * 100 + 4 * 10]
    assert by_column.flatten().tolist() == [1000 + 2 * 100, 3 * 1 + 4 * 10]


def test_a_dropped_row_adds_not_even_its_bias():
    rows, bias = torch.ones(2, 1, 3), torch.full((2, 3), 7.0)
    places, experts = torch.tensor([0, -1], dtype=torch.int32), torch.zeros(1, 2, dtype=torch.int32)
    out = torch_npu.npu_moe_finalize_routing(rows, None, None, bias, torch.ones(1, 2), places, experts, 3)
    assert out.tolist() == [[8.0] * 3]


X = torch.zeros(4, 3)
I4, I8 = torch.zeros(4, dtype=torch.int32), torch.arange(8, dtype=torch.int32)
ROWS, WEIGHTS = torch.zeros(8, 3), torch.zeros(4, 2)


def spread(x=X, choices=CHOICES["spread"], **options):
    return lambda: route(x, choices, **options)


def finalize(*arguments, **options):
    return lambda: torch_npu.npu_moe_finalize_routing(*arguments, **options)


REFUSED = [
    (spread(X.double()), "x must be one of torch.float16"),
    (spread(X[None]), "x must have 2 dimensions"),
    (spread(X[:3]), "expert_idx must have a row for each of x (3, 3), got (4, 2)"),
    (lambda: torch_npu.npu_moe_init_routing_v2(X, I8.view(4, 2).long(), active_expert_range=[0, 8]), "must be one of"),
    (spread(scale=X), "scale must have one value a row of x (4, 3), got (4, 3)"),
    (spread(scale=X[:, 0].bfloat16()), "scale must be one of torch.float32"),
    (spread(expert_num=0), "expert_num must be 1 to 10240, got 0"),
    (spread(expert_num=10241), "expert_num must be 1 to 10240, got 10241"),
    (spread(expert_num=4, active_range=(0, 4)), "expert_idx must be 0 to 3 (not checked on the device), got 4"),
    (spread(choices=[[0, -1]] * 4), "expert_idx must be 0 to 4 (not checked on the device), got -1"),
    (spread(active_range=()), "active_expert_range must be [start, end]: left empty, op-plugin keeps the first"),
    (spread(active_range=(2, 2)), "active_expert_range must be [start, end], 0 <= start < end <= 5, got [2, 2]"),
    (spread(active_range=(0, 6)), "0 <= start < end <= 5, got [0, 6]"),
    (spread(active_num=7), "active_num must be all choices, 8: fewer have no kernel here, got 7"),
    (spread(row_idx_type=2), "row_idx_type must be 0 (gather) or 1 (scatter), got 2"),
    (spread(expert_tokens_num_type=2), "expert_tokens_num_type must be 0 (cumulative) or 1 (counts)"),
    (spread(expert_tokens_num_flag=False), "expert_tokens_num_flag must be True: counts are not written without it"),
    (spread(drop_pad_mode=1), "drop_pad_mode must be 0: dropping has no kernel here, got 1"),
    (spread(quant_mode=1), "quant_mode must be -1: there is no quantized kernel here, got 1"),
    (spread(x_dtype=1), "x_dtype must be None"),
    (spread(offset=X[0]), "offset must be None without quantization"),
    (finalize(ROWS.double(), None, None, None, None, I8, None, 2), "expanded_permuted_rows must be one of"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8, None, 4), "drop_pad_mode must be 0 to 3, got 4"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8, None, 3), "expanded_permuted_rows must have 3 dimensions"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8.long(), None, 2), "expanded_src_to_dst_row must be one of"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8[None], None, 2), "expanded_src_to_dst_row must have 1 dimensions"),
    (finalize(ROWS, None, None, None, WEIGHTS.bfloat16(), I8, None, 2), "scales must have the dtype of expanded"),
    (finalize(ROWS, None, None, None, WEIGHTS[:3], I8, None, 2), "scales must have one value for each of"),
    (finalize(ROWS, None, None, None, None, I8, None, 2, 3), "k must divide the rows of expanded_src_to_dst_row (8,)"),
    (finalize(ROWS[:7], None, None, None, WEIGHTS, I8, None, 2), "must have a row for each of expanded_src_to_dst_row"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8 - 1, None, 2), "must be 0 to 7 (not checked on the device), got -1"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8 + 1, None, 2), "must be 0 to 7 (not checked on the device), got 8"),
    (finalize(ROWS[None], None, None, None, WEIGHTS, I8 - 2, None, 3), "must be -1 to 7 (not checked"),
    (finalize(ROWS, None, X, None, WEIGHTS, I8, None, 2), "skip2 must be None where skip1 is, got (4, 3)"),
    (finalize(ROWS, X[:3], None, None, WEIGHTS, I8, None, 2), "skip1 must be (4, 3), as the result, got (3, 3)"),
    (finalize(ROWS, X.half(), None, None, WEIGHTS, I8, None, 2), "skip1 must have the dtype of expanded"),
    (finalize(ROWS, None, None, X, WEIGHTS, I8, None, 2), "export_for_source_row must say the experts where there is"),
    (finalize(ROWS, None, None, X[:, :2], WEIGHTS, I8, I8.view(4, 2), 2), "bias must have rows of 3, as the result"),
    (finalize(ROWS, None, None, None, WEIGHTS, I8, I8.view(2, 4), 2), "export_for_source_row must be (4, 2), one a"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(call, message):
    with pytest.raises(ContractError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        spread(),
        finalize(ROWS, None, None, None, WEIGHTS, I8, None, 2),
        lambda: torch_npu.npu_moe_gating_top_k_softmax(X, None, 1),
        lambda: torch_npu.npu_moe_gating_top_k(X, 1),
    ],
)
def test_310p_is_refused(call):
    with chip("Ascend310P"), pytest.raises(ContractError, match="the chip must be one of Ascend910B, Ascend910_93"):
        call()
