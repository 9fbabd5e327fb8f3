"""A class that a model builds has its role however the file says that it builds it."""

from __future__ import annotations

import pytest

from tests.engine.anatomies import LAYER, LAYER_INIT, MLP, MODEL, before_layer, read
from tests.engine.sources import port, text_of, varied

ATTENTION = "self.self_attn = LlamaAttention(config=config, layer_idx=layer_idx)"
LIST = """self.layers = nn.ModuleList(
            [LlamaDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)]
        )"""
KERNEL = """attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )"""
LOOP = "for number in range(config.num_hidden_layers):"
PLAIN = read(text_of("llama"))
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
