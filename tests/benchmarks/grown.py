"""Generated sources: a small causal model whose norm a rule takes, and n functions or n norm classes beside it.

Contract: every text is valid Python that porter converts. Nothing but the number of functions and classes grows with n:
each is as long as the others, and a layer holds `A_LAYER` of the norms at most.
"""

from __future__ import annotations

from dataclasses import replace

from porter.source import Source

A_LAYER = 20

_HEAD = """import torch
from torch import nn
from transformers import PreTrainedModel
"""

_NORM = """

class Norm{number}(nn.Module):
    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.variance_epsilon = eps

    def forward(self, x):
        dtype = x.dtype
        x = x.to(torch.float32)
        variance = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * x.to(dtype)
"""

_FUNCTION = """

def helper{number}(x, scale):
    y = x * scale + {number}
    if y is None:
        return torch.zeros_like(x)
    return y.to(x.dtype)
"""

_LAYER = """

class Layer{number}(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)
{norms}

    def forward(self, x):
        return x + self.linear(self.norm{first}(x))
"""

_MODEL = """

class GrownForCausalLM(PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList([{layers}])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""


def with_functions(n: int) -> str:
    """A model of one layer with one norm, and n module functions that nothing calls."""
    return _text(1, "".join(_FUNCTION.format(number=number) for number in range(n)))


def with_classes(n: int) -> str:
    """A model of n norm classes, each of which its layers build and a rule takes."""
    return _text(n, "")


def _text(norms: int, between: str) -> str:
    groups = [range(first, min(first + A_LAYER, norms)) for first in range(0, norms, A_LAYER)]
    classes = "".join(_NORM.format(number=number) for number in range(norms))
    layers = "".join(_layer(number, group) for number, group in enumerate(groups))
    built = ", ".join(f"Layer{number}(config)" for number in range(len(groups)))
    return _HEAD + classes + between + layers + _MODEL.format(layers=built)


def _layer(number: int, group: range) -> str:
    norms = "\n".join(f"        self.norm{norm} = Norm{norm}(config.hidden_size)" for norm in group)
    return _LAYER.format(number=number, norms=norms, first=group[0])


def as_source(text: str, like: Source) -> Source:
    """The text as a source of no package, with no configuration beside it."""
    return replace(like, text=text, module=None, package=None, version=None, configuration=None, siblings=())
