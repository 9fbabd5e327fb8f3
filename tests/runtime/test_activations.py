"""Activations by name compute what the library's do, and gelu by the error function is the op that has it on an NPU."""

import pytest
import torch
from transformers.activations import ACT2FN

from porter.runtime import Gelu, activation_of
from tests.error_rule import no_further

NAMES = sorted(set(ACT2FN) - {"prelu", "xielu"})  # those two have weights, and are the library's own
ROUNDINGS = 2  # fp32's own on the way, and the last one


def captured(module):
    ops = []

    def backend(graph, inputs):
        ops.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compile(module, backend=backend, fullgraph=True)(torch.ones(2, 4))
    return ops


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_computes_what_the_library_s_does(name, dtype):
    x = (torch.randn(64, 32, generator=torch.Generator().manual_seed(1)) * 6).to(dtype)
    no_further(activation_of(name)(x), ACT2FN[name](x), ACT2FN[name](x.double()), ROUNDINGS)


@pytest.mark.parametrize("name", ["gelu", "gelu_python", "gelu_10"])
def test_the_error_function_is_the_op_that_has_it_on_an_npu(name):
    ops = captured(activation_of(name))
    assert [op for op in ops if "gelu" in op] == ["npu.npu_gelu.default"] and not any("erf" in op for op in ops)
    assert not activation_of(name).state_dict()


def test_other_names_are_the_library_s():
    assert type(activation_of("silu")) is type(ACT2FN["silu"]) and type(activation_of("gelu_fast")) is not Gelu
    with pytest.raises(KeyError):
        activation_of("gelluu")
