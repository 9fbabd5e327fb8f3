"""Every class that a model builds has a role or is listed as unknown, however the file says that it builds it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.anatomy import Anatomy, read_anatomy
from porter.convert import convert, inspect
from porter.diagnostics import Refused
from porter.report.known import inspection_data
from porter.tree import parse
from tests.engine.sources import Pair, accepted, convert_text, port, source_of, text_of, varied, why

PACKAGE = "transformers.models.llama"
MLP = "self.mlp = LlamaMLP(config)"
ATTENTION = "self.self_attn = LlamaAttention(config=config, layer_idx=layer_idx)"
MODEL = "self.model = LlamaModel(config)"
LIST = """self.layers = nn.ModuleList(
            [LlamaDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)]
        )"""
LAYER = "class LlamaDecoderLayer("
LAYER_INIT = """    def __init__(self, config: LlamaConfig, layer_idx: int):
        super().__init__()
        self.hidden_size = config.hidden_size
"""
KERNEL = """attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )"""
LOOP = "for number in range(config.num_hidden_layers):"


def read(text: str) -> Anatomy:
    tree = parse(text, "llama", package=PACKAGE)
    assert not isinstance(tree, Refused)
    anatomy = read_anatomy(tree)
    assert not isinstance(anatomy, Refused)
    return anatomy


PLAIN = read(text_of("llama"))


def before_layer(code: str, *pairs: Pair) -> str:
    return varied(*pairs, (LAYER, f"{code}\n\n\n{LAYER}"))


TABLE = 'ATTENTION_CLASSES = {"eager": LlamaAttention, "sdpa": LlamaAttention}'
SPELLINGS = {
    "a kernel from a table": varied(
        (KERNEL, "attention_interface = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]")
    ),
    "a kernel from a table, under a condition": varied(
        (
            KERNEL,
            "attention_interface: Callable = eager_attention_forward\n"
            '        if self.config._attn_implementation != "eager":\n'
            "            attention_interface = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]",
        )
    ),
    "the kernel itself": varied(
        (KERNEL, "attention_interface = nn.functional.scaled_dot_product_attention"),
        ("attention_interface(", "nn.functional.scaled_dot_product_attention("),
    ),
    "a class from a table": before_layer(
        TABLE,
        (
            ATTENTION,
            "self.self_attn = ATTENTION_CLASSES[config._attn_implementation](config=config, layer_idx=layer_idx)",
        ),
    ),
    "a class from a table, by get": before_layer(
        TABLE,
        (
            ATTENTION,
            "self.self_attn = ATTENTION_CLASSES.get(config._attn_implementation, LlamaAttention)(config, layer_idx)",
        ),
    ),
    "a table of tables": before_layer(
        f"{TABLE}\nOF_ALL = dict(attention=ATTENTION_CLASSES)",
        (ATTENTION, 'self.self_attn = OF_ALL["attention"][config.kind](config, layer_idx)'),
    ),
    "a table in lower case, filled later": before_layer(
        'kinds = {}\nkinds["eager"] = LlamaAttention',
        (ATTENTION, "self.self_attn = kinds[config.kind](config, layer_idx)"),
    ),
    "a dict where it is asked": varied((MLP, 'self.mlp = {"plain": LlamaMLP}[config.kind](config)')),
    "a local name": varied((MLP, "mlp_class = LlamaMLP\n        self.mlp = mlp_class(config)")),
    "a local name by a condition": varied(
        (MLP, "mlp_class = LlamaMLP if config.mlp_bias else LlamaMLP\n        self.mlp = mlp_class(config)")
    ),
    "a local name in two branches": varied(
        (
            MLP,
            "if config.mlp_bias:\n            kind = LlamaMLP\n        else:\n"
            "            kind = LlamaMLP\n        self.mlp = kind(config)",
        )
    ),
    "one of two names": varied((MLP, "kind, _ = LlamaMLP, config\n        self.mlp = kind(config)")),
    "an expression that chooses": varied((MLP, "self.mlp = (LlamaMLP if config else LlamaMLP)(config)")),
    "partial": before_layer(
        "from functools import partial", (MLP, "make = partial(LlamaMLP, config)\n        self.mlp = make()")
    ),
    "partial of the module": before_layer(
        "import functools\nmake_mlp = functools.partial(LlamaMLP)", (MLP, "self.mlp = make_mlp(config)")
    ),
    "another name of the module": before_layer("Feed = LlamaMLP", (MLP, "self.mlp = Feed(config)")),
    "a lambda": varied((MLP, "make = lambda: LlamaMLP(config)\n        self.mlp = make()")),
    "a function inside": varied((MLP, "def made():\n            return LlamaMLP(config)\n\n        self.mlp = made()")),
    "a function of the file": before_layer(
        "def made(config):\n    return LlamaMLP(config)", (MLP, "self.mlp = made(config)")
    ),
    "a method": varied(
        (LAYER_INIT, "    def made(self, config):\n        return LlamaMLP(config)\n\n" + LAYER_INIT),
        (MLP, "self.mlp = self.made(config)"),
    ),
    "a method that sets it": varied(
        (MLP, "self.fill(config)"),
        (LAYER_INIT, "    def fill(self, config):\n        self.mlp = LlamaMLP(config)\n\n" + LAYER_INIT),
    ),
    "an attribute of the class": varied(
        (LAYER_INIT, "    mlp_class = LlamaMLP\n\n" + LAYER_INIT), (MLP, "self.mlp = self.mlp_class(config)")
    ),
    "a parameter with a default": varied(
        (LAYER_INIT, LAYER_INIT.replace("layer_idx: int", "layer_idx: int, kind=LlamaMLP")),
        (MLP, "self.mlp = kind(config)"),
    ),
    "an annotated member": varied((MLP, "self.mlp: nn.Module = LlamaMLP(config)")),
    "two members at once": varied((MLP, "self.mlp, self.other = LlamaMLP(config), None")),
    "setattr": varied((MLP, 'setattr(self, "mlp", LlamaMLP(config))')),
    "add_module": varied((MLP, 'self.add_module("mlp", LlamaMLP(config))')),
    "register_module": varied((MLP, 'self.register_module("mlp", LlamaMLP(config))')),
    "layers appended": varied(
        (
            LIST,
            f"self.layers = nn.ModuleList()\n        {LOOP}\n"
            "            self.layers.append(LlamaDecoderLayer(config, number))",
        )
    ),
    "layers by +=": varied(
        (
            LIST,
            f"self.layers = nn.ModuleList()\n        {LOOP}\n"
            "            self.layers += [LlamaDecoderLayer(config, number)]",
        )
    ),
    "layers extended": varied(
        (LIST, "self.layers = nn.ModuleList()\n        self.layers.extend([LlamaDecoderLayer(config, 0)])")
    ),
    "a list, then a module list": varied(
        (
            LIST,
            f"layers = []\n        {LOOP}\n            layer = LlamaDecoderLayer(config, number)\n"
            "            layers.append(layer)\n        self.layers = nn.ModuleList(layers)",
        )
    ),
    "a list by a comprehension": varied(
        (LIST, "layers = [LlamaDecoderLayer(config, 0) for _ in range(2)]\n        self.layers = nn.ModuleList(layers)")
    ),
    "a list over classes": varied(
        (LIST, "self.layers = nn.ModuleList([kind(config, 0) for kind in (LlamaDecoderLayer,)])")
    ),
    "_from_config": varied((MODEL, "self.model = LlamaModel._from_config(config)")),
    "a class that derives": varied(
        (LAYER, f"class Derived(LlamaMLP):\n    pass\n\n\n{LAYER}"), (MLP, "self.mlp = Derived(config)")
    ),
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_a_class_is_seen_however_it_is_built(text):
    anatomy = read(text)
    assert {name: role for name, role in anatomy.roles.items() if name != "Derived"} == PLAIN.roles
    assert anatomy.roles.get("Derived", "mlp") == "mlp"
    assert anatomy.unknown == {}


def test_attention_that_no_rule_takes_is_a_site_with_its_reason():
    for name in ("a kernel from a table", "a class from a table"):
        sites = {site.name: site for site in port(SPELLINGS[name]).sites}
        assert "LlamaAttention.forward" in sites and "LlamaModel.forward" in sites
    left = {site.name: site for site in port(SPELLINGS["a kernel from a table"]).sites}["LlamaAttention.forward"]
    assert left.status in ("left", "partly") and left.reason


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
    assert inspection_data(accepted_inspection("llama"))["unknown"] == []


def accepted_inspection(model: str):
    seen = inspect(source_of(model))
    assert not isinstance(seen, Refused)
    return seen


ROLES = {
    "mixtral": {"MixtralTopKRouter": "router", "MixtralExperts": "experts", "MixtralSparseMoeBlock": "moe"},
    "phimoe": {"PhimoeTopKRouter": "router", "PhimoeExperts": "experts"},  # a linear with a forward of its own
    "ernie4_5_moe": {"Ernie4_5_MoeStatics": "bias", "Ernie4_5_MoeTopKRouter": "router"},
    "deepseek_v3": {"DeepseekV3TopkRouter": "router", "DeepseekV3MoE": "moe", "DeepseekV3MLP": "mlp"},
    "bloom": {"BloomGelu": "activation", "BloomAttention": "attention"},
    "mamba": {"MambaMixer": "mixer", "MambaBlock": "layer", "MambaModel": "model"},
    "qwen3_next": {
        "Qwen3NextGatedDeltaNet": "mixer",
        "Qwen3NextTopKRouter": "router",
        "Qwen3NextAttention": "attention",
    },
    "lfm2": {"Lfm2ShortConv": "mixer"},
    "jamba": {"JambaAttentionDecoderLayer": "layer", "JambaMambaDecoderLayer": "layer", "JambaMambaMixer": "mixer"},
    "gemma2": {"Gemma2TextScaledWordEmbedding": "embedding"},
    "bart": {"BartDecoderWrapper": "wrapper", "BartDecoder": "model"},
    "phi4_multimodal": {"Phi4MultimodalVisionAttention": "tower", "Phi4MultimodalAttention": "attention"},
}


@pytest.mark.parametrize("model", ROLES)
def test_parts_have_their_roles(model):
    roles = accepted_inspection(model).plan.anatomy.roles
    assert {name: roles.get(name) for name in ROLES[model]} == ROLES[model]


@pytest.mark.parametrize("model", ["llama4", "mamba"])
def test_routers_and_mixers_are_sites_that_are_left_with_a_reason(model):
    sites = [site for site in accepted_inspection(model).sites if site.kind in ("router", "mixer", "moe")]
    assert sites and all(site.status == "left" and site.reason for site in sites)


def test_a_part_of_another_class_does_not_keep_a_merge_away():
    """`gate_proj` of an attention is its own; one that reaches into the MLP is not."""
    own = varied(
        (
            "        self.o_proj = nn.Linear(",
            "        self.gate_proj = nn.Linear(1, 1)\n        self.o_proj = nn.Linear(",
        ),
        (
            "        attn_output = self.o_proj(attn_output)",
            "        attn_output = self.o_proj(attn_output) * self.gate_proj.weight",
        ),
    )
    assert "self.gate_up(x)" in port(own).code and "self.gate_proj.weight" in port(own).code
    into = varied(
        (
            "        hidden_states = self.mlp(hidden_states)",
            "        self.mlp.gate_proj(hidden_states)\n        hidden_states = self.mlp(hidden_states)",
        )
    )
    assert "self.gate_up(x)" not in port(into).code and "is used outside" in why(port(into))


QUOTED = ['"silu"', "'silu'", '"""silu"""', "'''silu'''", 'r"silu"', 'u"silu"', '"si" "lu"', "'swish'"]


@pytest.mark.parametrize("literal", QUOTED)
def test_an_activation_is_a_string_however_it_is_quoted(literal):
    assert "self.gate_up(x)" in port(varied(("ACT2FN[config.hidden_act]", f"ACT2FN[{literal}]"))).code


def test_an_activation_that_is_no_silu_is_left():
    ported = accepted(
        convert(replace(source_of("llama"), text=varied(("ACT2FN[config.hidden_act]", "ACT2FN['tanh']"))), name="llama")
    )
    assert "self.gate_up(x)" not in ported.code
