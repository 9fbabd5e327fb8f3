"""Counts of experts' rows and their ends: in a graph a loop where it is short, always the same integers."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from porter.npu.counts import counted, ends_of

CALLS = ("aten.scatter_add.default", "aten.cumsum.default")


def both(experts, count):
    counts = counted(experts, count)
    return counts, ends_of(counts)


@pytest.mark.parametrize(
    ("rows", "count", "calls"),
    [(4, 32, []), (0, 3, []), (64, 64, []), (65, 64, [CALLS[0]]), (8, 65, [CALLS[1]]), (64, 65, [*CALLS])],
)
def test_a_graph_has_a_loop_of_few_comparisons_and_the_same_integers(rows, count, calls):
    experts = torch.randint(0, count, (rows,), generator=torch.Generator().manual_seed(0))
    traced = make_fx(lambda experts: both(experts, count), tracing_mode="fake")(experts)
    assert [str(node.target) for node in traced.graph.nodes if str(node.target) in CALLS] == calls
    counts = torch.bincount(experts, minlength=count)
    for found in (traced(experts), both(experts, count)):
        assert [one.dtype for one in found] == [torch.int64] * 2
        assert torch.equal(found[0], counts) and torch.equal(found[1], counts.cumsum(0))


def test_a_number_of_rows_that_is_not_known_stays_a_call():
    traced = make_fx(lambda experts: counted(experts, 8), tracing_mode="symbolic")(torch.tensor([1, 2, 5]))
    assert CALLS[0] in {str(node.target) for node in traced.graph.nodes}
    assert traced(torch.tensor([7, 7])).tolist() == [0] * 7 + [2]
