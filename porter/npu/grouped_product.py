"""The arithmetic of npu_grouped_matmul: on the CPU, which product computes an expert's rows.

Contract: each row is summed in float32 and rounded once, its bias included; only experts that have rows are read, and
no weight is copied but for the one at work. PyTorch sums a 16-bit product in float32, a bias of its dtype included, but
for float16 and a weight that is not turned. What is quicker differs: a weight turned into float32 first pays from a few
rows on, sooner where the copy stays in the processor's cache; one call for all experts pays where most have rows, as it
goes through all of them.

For compiled graphs there are two ways. `fused_product` is for few rows, known when the graph is traced: the compiler
makes one loop of it that reads the weights where they are. `porter::grouped_product` is the rest as an op of its own,
as the twenty arguments of npu_grouped_matmul and its guard against gradients cost a step more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch

from porter.npu.contract import ContractError
from porter.npu.counts import ends_of
from porter.npu.rounding import rounded, widened

CUMULATIVE, COUNTS = 0, 1  # group_list_type: the last row + 1 of each expert, or its number of rows
_FEW_ROWS = 4  # up to here a 16-bit weight is multiplied as it is
_FUSED_ROWS = {torch.float32: 16, torch.bfloat16: 64, torch.float16: 64}  # beyond, reading a weight a row costs more
_CACHED = 1 << 18  # elements of a weight whose float32 copy stays in the cache: it pays from the second row on
_LIBRARY = torch.library.Library("porter", "FRAGMENT")
_LIBRARY.define(
    "grouped_product(Tensor states, Tensor experts, Tensor? bias, Tensor group_list, int group_list_type) -> Tensor"
)


def grouped_product(
    states: torch.Tensor,
    experts: torch.Tensor,
    bias: torch.Tensor | None,
    group_list: torch.Tensor,
    group_list_type: int,
) -> torch.Tensor:
    """states (M, K) sorted by expert, experts (E, K, N), bias (E, N) or None, group_list (E,) int64: (M, N) contiguous,
    in the dtype of states. ContractError where group_list does not make up M."""
    if not states.is_cpu:
        return _without_waiting(states, experts, bias, group_list, group_list_type)
    sizes: list[int] = group_list.tolist()
    if group_list_type == CUMULATIVE:
        sizes = [end - start for start, end in pairwise((0, *sizes))]
    if min(sizes) < 0 or sum(sizes) != states.shape[0]:
        limit = f"must make up the {states.shape[0]} rows of x, none negative (not checked on the device)"
        raise ContractError("npu_grouped_matmul", "group_list", limit, group_list.tolist())
    return _by_expert(states, experts, bias, sizes)


def _by_expert(
    states: torch.Tensor, experts: torch.Tensor, bias: torch.Tensor | None, sizes: Sequence[int]
) -> torch.Tensor:
    if bias is not None and states.dtype is torch.float32:  # what is not rounded before is added to all rows at once
        rows = torch.tensor([expert for expert, size in enumerate(sizes) for _ in range(size)], dtype=torch.int64)
        return _by_expert(states, experts, None, sizes).add_(bias.index_select(0, rows))
    present = [expert for expert, size in enumerate(sizes) if size]
    if not present:
        return states.new_empty(0, experts.shape[2])
    few = _narrow_rows(states, experts)
    if bias is None and 2 * len(present) > len(sizes) and max(sizes) <= few and _fits_one_call(states, experts):
        ends = torch.tensor([*accumulate(sizes)], dtype=torch.int32)
        return torch.nn.functional.grouped_mm(states, experts, offs=ends)
    added: Sequence[torch.Tensor | None] = [None] * len(present)
    if bias is not None:
        wanted = bias.index_select(0, torch.tensor(present))
        narrow = wanted.to(states.dtype)
        if narrow is not wanted and not torch.equal(narrow.to(wanted.dtype), wanted):
            narrow, few = wanted, 0
        added = narrow.unbind()
    parts = states.split([sizes[expert] for expert in present])
    products = [
        (_as_it_is if len(part) <= few else _widened)(part, experts[expert], one)
        for expert, part, one in zip(present, parts, added, strict=True)
    ]
    return products[0] if len(products) == 1 else torch.cat(products)


def _narrow_rows(states: torch.Tensor, experts: torch.Tensor) -> int:
    """Up to how many rows of an expert are multiplied in its own dtype."""
    if states.dtype is torch.float32:
        return len(states)
    if states.dtype is torch.float16 and experts.stride(1) != 1:
        return 0
    return 1 if experts[0].numel() <= _CACHED else _FEW_ROWS


def _fits_one_call(states: torch.Tensor, experts: torch.Tensor) -> bool:
    """grouped_mm takes rows of whole 16 bytes."""
    least = 16 // states.element_size()
    return states.shape[1] % least == 0 and experts.shape[2] % least == 0


def _as_it_is(part: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.mm(part, weight) if bias is None else torch.addmm(bias, part, weight)


def _widened(part: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product = torch.mm(part.float(), weight.float())
    return rounded(product if bias is None else product.add_(bias), part.dtype)


def is_fused(states: torch.Tensor, experts: torch.Tensor) -> bool:
    """Whether a compiler's loop is quicker than products: of few rows, in float32 where weights are turned."""
    rows, dtype = states.shape[0], states.dtype
    if not states.is_cpu or not isinstance(rows, int) or rows > _FUSED_ROWS[dtype]:
        return False
    return dtype is not torch.float32 or experts.stride(1) == 1


def fused_product(
    states: torch.Tensor, experts: torch.Tensor, bias: torch.Tensor | None, group_list: torch.Tensor, kind: int
) -> torch.Tensor:
    """`grouped_product` in terms that a compiler makes one loop of; otherwise each row has a copy of its weight."""
    weights = widened(rows_of_experts(experts, states, group_list, kind))
    product = (widened(states).unsqueeze(-1) * weights).sum(1)
    return rounded(product if bias is None else product + rows_of_experts(bias, states, group_list, kind), states.dtype)


def rows_of_experts(
    of_experts: torch.Tensor, states: torch.Tensor, group_list: torch.Tensor, kind: int
) -> torch.Tensor:
    """of_experts (E, ...), states (M, K) sorted by expert: what each row's expert has (M, ...)."""
    ends = ends_of(group_list) if kind == COUNTS else group_list
    expert = (torch.arange(states.shape[0], device=states.device).unsqueeze(1) >= ends).sum(-1)
    return of_experts.index_select(0, expert)


def _without_waiting(
    states: torch.Tensor, experts: torch.Tensor, bias: torch.Tensor | None, group_list: torch.Tensor, kind: int
) -> torch.Tensor:
    """Each row with a copy of its expert's weight: on another device no count is read on the host."""
    product = torch.bmm(widened(states).unsqueeze(1), widened(rows_of_experts(experts, states, group_list, kind)))
    product = product.squeeze(1)
    return rounded(product if bias is None else product + rows_of_experts(bias, states, group_list, kind), states.dtype)


def _fake(
    states: torch.Tensor,
    experts: torch.Tensor,
    bias: torch.Tensor | None,
    group_list: torch.Tensor,
    group_list_type: int,
) -> torch.Tensor:
    return states.new_empty((states.shape[0], experts.shape[2]))


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("grouped_product", grouped_product, _key)
torch.library.register_fake("porter::grouped_product", _fake, lib=_LIBRARY)
