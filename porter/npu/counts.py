"""How many rows each expert has, and where they end.

Contract: integers, so either way gives the same. In a graph for the CPU few comparisons are a loop inside what the
compiler fuses, where scatter_add and cumsum stay a call each; in eager code it is the other way round.
"""

from __future__ import annotations

import torch

from porter.npu.direct import is_plain

_LOOPED = 4096  # comparisons: about 2 us, where a call takes 5 to 10


def counted(experts: torch.Tensor, count: int) -> torch.Tensor:
    """experts (M,) in [0, count): how often each occurs, (count,) int64."""
    if _is_looped(experts, count):
        return (experts == torch.arange(count, device=experts.device).unsqueeze(1)).sum(1)
    counts = torch.zeros(count, dtype=torch.int64, device=experts.device)
    return counts.scatter_add(0, experts, torch.ones_like(experts))


def ends_of(counts: torch.Tensor) -> torch.Tensor:
    """counts (E,): the last row + 1 of each expert, (E,) int64."""
    if _is_looped(counts, counts.shape[0]):
        each = torch.arange(counts.shape[0], device=counts.device)
        return torch.where(each.unsqueeze(1) >= each, counts, 0).sum(1)
    return counts.cumsum(0)


def _is_looped(values: torch.Tensor, times: int) -> bool:
    """Whether each of the values is compared `times` times: where both are known when a graph is traced, and few."""
    size = values.shape[0]
    if not values.is_cpu or is_plain(values) or not isinstance(size, int) or not isinstance(times, int):
        return False
    return size * times <= _LOOPED
