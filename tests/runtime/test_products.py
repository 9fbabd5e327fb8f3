"""Products by blocks of rows: the same numbers, and only where a CPU's float32 library gains by them."""

import pytest
import torch
from torch import nn

from porter.runtime import block_products, products
from tests.error_rule import no_further


class Own(nn.Linear):
    """A Linear of somebody's own."""


@pytest.fixture
def small(monkeypatch):
    """Blocks of 8 rows, from 1 KiB on."""
    monkeypatch.setattr(products, "ROWS", 8)
    monkeypatch.setattr(products, "_LARGE", 1024)


@pytest.fixture
def calls(monkeypatch):
    """Rows of the weight of each product that is computed."""
    made, linear = [], nn.functional.linear

    def counted(input, weight, bias=None):
        made.append(weight.shape[0])
        return linear(input, weight, bias)

    monkeypatch.setattr(nn.functional, "linear", counted)
    return made


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3, 32), (2, 1, 32), (2, 5, 32)], ids=str)
def test_blocks_give_the_whole_product(small, calls, bias, shape):
    layer, x = nn.Linear(32, 20, bias=bias), torch.randn(shape)
    expected = layer(x)
    calls.clear()
    assert block_products(layer) == 1 and isinstance(layer, nn.Linear)
    found = layer(x)
    assert calls == [7, 7, 6]
    no_further(found, expected, layer.double()(x.double()), roundings=32 + 1)


@torch.no_grad()
@pytest.mark.parametrize("case", ["one row", "no row", "a vector", "bfloat16", "another device"])
def test_everything_else_is_computed_whole(small, calls, case):
    shapes = {"one row": (1, 32), "no row": (0, 32), "a vector": (32,)}
    layer, x = nn.Linear(32, 20), torch.randn(shapes.get(case, (3, 32)))
    block_products(layer)
    if case == "bfloat16":
        layer, x = layer.bfloat16(), x.bfloat16()
    if case == "another device":
        layer, x = layer.to("meta"), x.to("meta")
    assert layer(x).shape == (*x.shape[:-1], 20)
    assert calls == [20]


def test_only_large_float32_linears_on_the_cpu_are_touched(small):
    model = nn.ModuleDict(
        {
            "large": nn.Linear(32, 20),
            "narrow": nn.Linear(256, 8),
            "small": nn.Linear(4, 20),
            "sixteen bits": nn.Linear(64, 20).bfloat16(),
            "own": Own(32, 20),
            "elsewhere": nn.Linear(32, 20, device="meta"),
        }
    )
    before = model.state_dict()
    assert block_products(model) == 1 and block_products(model) == 0
    assert [name for name, module in model.items() if isinstance(module, products.BlockedLinear)] == ["large"]
    after = model.state_dict()
    assert [(name, value.data_ptr()) for name, value in after.items()] == [
        (name, value.data_ptr()) for name, value in before.items()
    ]


@torch.no_grad()
def test_a_compiled_step_has_the_blocks(small):
    graphs = []

    def backend(graph, _inputs):
        graphs.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
        return graph

    layer, x = nn.Linear(32, 20), torch.randn(3, 32)
    expected = layer(x)
    block_products(layer)
    found = torch.compile(layer, fullgraph=True, backend=backend)(x)
    no_further(found, expected, nn.Linear.forward(layer.double(), x.double()), roundings=32 + 1)
    assert sum("linear" in op for op in graphs[0]) == 3
