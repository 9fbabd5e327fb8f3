"""A class that a model builds and that nothing tells is listed as unknown; what is no part of a model is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.convert import inspect
from porter.diagnostics import Refused
from porter.report.known import inspection_data
from tests.engine.anatomies import LAYER_INIT, MLP, MODEL, before_layer, read
from tests.engine.sources import convert_text, inspected, port, source_of, varied

MISTRAL = "from transformers.models.mistral.modeling_mistral import MistralMLP"
ODD = "class Odd(nn.Module):\n    def forward(self, x):\n        return x * 2"
BUILD_ODD = (MLP, f"{MLP}\n        self.odd = Odd()")
UNKNOWN = {
    "a class that nothing tells": (before_layer(ODD, BUILD_ODD), ["Odd"]),
    "a class of another model": (before_layer(MISTRAL, (MLP, "self.mlp = MistralMLP(config)")), ["MistralMLP"]),
    "by another name": (before_layer(f"{MISTRAL} as M", (MLP, "self.mlp = M(config)")), ["M"]),
    "by its module": (
        before_layer(
            "from transformers.models.mistral import modeling_mistral as m", (MLP, "self.mlp = m.MistralMLP(config)")
        ),
        ["MistralMLP"],
    ),
    "by a local name": (
        before_layer(MISTRAL, (MLP, "kind = MistralMLP\n        self.mlp = kind(config)")),
        ["MistralMLP"],
    ),
    "from a table": (
        before_layer(f'{MISTRAL}\nKINDS = {{"m": MistralMLP}}', (MLP, 'self.mlp = KINDS["m"](config)')),
        ["MistralMLP"],
    ),
    "AutoModel": (
        before_layer(
            "from transformers import AutoModel",
            (MODEL, f"{MODEL}\n        self.tower = AutoModel.from_config(config)"),
        ),
        ["AutoModel"],
    ),
    "a class of the file that derives from one": (
        before_layer(f"{MISTRAL}\n\n\nclass Mine(MistralMLP):\n    pass", (MLP, "self.mlp = Mine(config)")),
        ["MistralMLP", "Mine"],
    ),
    "a class of nobody": (varied((MLP, "self.mlp = Nobody(config)")), ["Nobody"]),
    "a class by a star": (before_layer("from mylib import *", (MLP, "self.mlp = FastMLP(config)")), ["FastMLP"]),
    "a class of a third package": (
        before_layer("import mylib", (MLP, "self.mlp = mylib.FastMLP(config)")),
        ["FastMLP"],
    ),
    "a function of a third package": (
        before_layer("from mylib import make_mlp", (MLP, "self.mlp = make_mlp(config)")),
        ["make_mlp"],
    ),
    "whole layers of PyTorch": (
        varied((MLP, f"{MLP}\n        self.more = nn.MultiheadAttention(8, 2)")),
        ["MultiheadAttention"],
    ),
    "a registry": (before_layer("REGISTRY = {}", (MLP, 'self.mlp = REGISTRY["mlp"](config)')), ["REGISTRY"]),
    "globals": (varied((MLP, 'self.mlp = globals()["LlamaMLP"](config)')), ["globals"]),
    "a class under a condition": (
        before_layer(f"if torch:\n    {ODD.replace(chr(10), chr(10) + '    ')}", BUILD_ODD),
        ["Odd"],
    ),
}


@pytest.mark.parametrize(("text", "names"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_told_is_listed(text, names):
    anatomy = read(text)
    assert sorted(anatomy.unknown) == sorted(names)
    kinds = {site.owner: site.kind for site in anatomy.sites}
    assert [kinds[name] for name in names] == ["unknown"] * len(names)


NOT_BUILT = {
    "asked for": varied((MLP, f"{MLP}\n        if isinstance(config, Nobody):\n            self.x = 1")),
    "an annotation": varied((LAYER_INIT, LAYER_INIT.replace("layer_idx: int", "layer_idx: Nobody"))),
    "an error": varied((MLP, f"{MLP}\n        if config is None:\n            raise Nobody(config)")),
    "a configuration": before_layer(
        "from mylib import NobodyConfig", (MLP, f"{MLP}\n        self.inner = NobodyConfig()")
    ),
    "an activation": varied((MLP, f"{MLP}\n        self.act = ACT2FN[config.hidden_act]")),
    "an output": before_layer("class Out(dict):\n    pass", (MLP, f"{MLP}\n        self.out = Out()")),
    "PyTorch's own": varied((MLP, f"{MLP}\n        self.drop = nn.Dropout(0.0)")),
    "Python's own": before_layer(
        "from collections import OrderedDict", (MLP, f"{MLP}\n        self.all = OrderedDict()")
    ),
}


@pytest.mark.parametrize("text", NOT_BUILT.values(), ids=NOT_BUILT)
def test_what_is_no_part_of_a_model_is_not_listed(text):
    assert read(text).unknown == {}


@pytest.mark.parametrize("name", ["a class that nothing tells", "a class of another model", "AutoModel"])
def test_an_unknown_class_fails_strict_and_is_in_the_account(name):
    text, (unknown, *_) = UNKNOWN[name]
    sites = {site.name: site for site in port(text).sites}
    site = sites.get(f"{unknown}.forward") or sites[unknown]
    assert (site.kind, site.status) == ("unknown", "left") and site.reason
    refused = convert_text(text, strict=True)
    assert isinstance(refused, Refused)
    (found,) = [d for d in refused.diagnostics if d.code == "P105"]
    assert f"`{unknown}`" in found.message and found.span is not None
    assert unknown in text.split("\n")[found.span.line - 1]


def test_an_unknown_class_may_be_kept_on_purpose():
    text, _ = UNKNOWN["a class that nothing tells"]
    sites = {site.name: site.status for site in port(text, keep=("Odd",), strict=True).sites}
    assert sites["Odd.forward"] == "kept"


def test_inspect_lists_the_unknown_beside_the_roles():
    text, names = UNKNOWN["a class of another model"]
    seen = inspect(replace(source_of("llama"), text=text))
    assert not isinstance(seen, Refused)
    data = inspection_data(seen)
    assert data["unknown"] == names and "MistralMLP" not in data["roles"]
    assert inspection_data(inspected("llama"))["unknown"] == []
