"""What attention relies on, changed from elsewhere in the file: the site is left with that reason."""

from __future__ import annotations

import pytest

from porter.diagnostics import Refused
from tests.engine.relied import FORWARD, MINE, PICKED, TABLE, at_the_end, change, inside
from tests.engine.sources import convert_text, port, rules, rules_of, varied, why
from tests.engine.variations import before, behind

PATCHES = [
    change("a table's entry", "ALL_ATTENTION_FUNCTIONS", at_the_end('ALL_ATTENTION_FUNCTIONS["sdpa"] = mine')),
    change("a registered entry", "register", at_the_end('ALL_ATTENTION_FUNCTIONS.register("sdpa", mine)')),
    change("an updated table", "update", at_the_end("ALL_ATTENTION_FUNCTIONS.update(sdpa=mine)")),
    change("a table by another name", "handed on", at_the_end('table = ALL_ATTENTION_FUNCTIONS\ntable["sdpa"] = mine')),
    change("a table handed to a function", "handed on", at_the_end("install(ALL_ATTENTION_FUNCTIONS, mine)")),
    change(
        "a table imported by another name",
        "FUNCTIONS",
        at_the_end(
            'from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as FUNCTIONS\n\nFUNCTIONS["sdpa"] = mine'
        ),
    ),
    change(
        "a table of a module",
        "ALL_ATTENTION_FUNCTIONS",
        at_the_end('import transformers\n\ntransformers.modeling_utils.ALL_ATTENTION_FUNCTIONS["sdpa"] = mine'),
    ),
    change(
        "a table in a function",
        "ALL_ATTENTION_FUNCTIONS",
        at_the_end('def install():\n    ALL_ATTENTION_FUNCTIONS["sdpa"] = mine'),
    ),
    change(
        "the class of the table",
        "AttentionInterface",
        at_the_end('from transformers import AttentionInterface\n\nAttentionInterface.register("sdpa", mine)'),
    ),
    change(
        "the class of the table by another name",
        "AttentionInterface",
        at_the_end('from transformers import AttentionInterface as I\n\nI.register("sdpa", mine)'),
    ),
    change("a method of the table", "get_interface", at_the_end("ALL_ATTENTION_FUNCTIONS.get_interface = mine")),
    change("a function of torch", "softmax", at_the_end("nn.functional.softmax = mine")),
    change("a product of torch", "matmul", at_the_end("torch.matmul = mine")),
    change("a function of torch by its namespace", "vars", at_the_end('vars(nn.functional)["softmax"] = mine')),
    change("the code of a function", "__code__", at_the_end("repeat_kv.__code__ = mine.__code__")),
    change("a method of the class", "LlamaAttention.forward = mine", at_the_end("LlamaAttention.forward = mine")),
    change("a method of the class by setattr", "setattr", at_the_end('setattr(LlamaAttention, "forward", mine)')),
    change("a method of an instance", "self.forward", inside("self.forward = self.other")),
    change(
        "a method of an instance by its layer",
        "forward",
        behind("LlamaAttention(config=config, layer_idx=layer_idx)\n", "        self.self_attn.forward = self.other\n"),
    ),
    change(
        "another class by its name",
        "more than once",
        at_the_end("class Other(LlamaAttention):\n    pass\n\n\nLlamaAttention = Other"),
    ),
    change(
        "a decorator of the class",
        "may make another class",
        behind("@use_kernelized_func(apply_rotary_pos_emb)\n", "@mine\n"),
        before("@use_kernelized_func(apply_rotary_pos_emb)\n", MINE),
    ),
    change(
        "a metaclass",
        "may make another class",
        ("class LlamaAttention(nn.Module):", "class LlamaAttention(nn.Module, metaclass=type):"),
    ),
    change(
        "a method that is bound again",
        "is bound here too",
        before(before_mlp := "class LlamaDecoderLayer(", "    if True:\n        forward = mine\n\n\n"),
    ),
    change(
        "a decorator of the forward",
        "wraps the function",
        before(
            FORWARD,
            "    @mine\n",
        ),
    ),
    change(
        "a hub mark of the file's own",
        "use_kernelized_func",
        before("class LlamaMLP(", "def use_kernelized_func(function):\n    return lambda cls: mine\n\n\n"),
    ),
    change(
        "a table of the file's own",
        "",
        (TABLE, "from ...modeling_utils import PreTrainedModel\nALL_ATTENTION_FUNCTIONS = {}"),
    ),
    change(
        "masks of the file's own",
        "",
        ("from ...masking_utils import create_causal_mask\n", "def create_causal_mask(**kwargs):\n    return None\n"),
    ),
    change(
        "masks of another module",
        "",
        ("from ...masking_utils import create_causal_mask\n", "from ...other_masks import create_causal_mask\n"),
    ),
    change(
        "a cache of the file's own",
        "",
        (
            "from ...cache_utils import Cache, DynamicCache\n",
            "from ...cache_utils import Cache\n\n\nclass DynamicCache(Cache):\n    pass\n\n\n",
        ),
    ),
    change(
        "another interface by a local name",
        "",
        (
            "        attn_output, attn_weights = attention_interface(",
            "        attention_interface = self.choose()\n        attn_output, attn_weights = attention_interface(",
        ),
    ),
    change("another fallback", "", ("eager_attention_forward\n        )", "self.attend\n        )")),
    change(
        "an interface picked at once",
        "",
        (
            PICKED,
            "        attention_interface: Callable = mine",
        ),
    ),
    change(
        "an interface by a name of its own",
        "",
        ("            self.config._attn_implementation, eager", '            "mine", eager'),
    ),
]


@pytest.mark.parametrize(("says", "pairs"), PATCHES)
def test_what_is_changed_from_elsewhere_keeps_the_fused_attention_away(says, pairs):
    ported = port(varied(*pairs))
    assert "attention" not in rules_of(ported)
    assert says in why(ported)


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("sys.modules", 'import sys\n\nsetattr(sys.modules[__name__], "repeat_kv", mine)'),
        ("globals()", 'globals()["repeat_kv"] = mine'),
        ("exec", 'exec("repeat_kv = mine")'),
        ("vars()", 'vars()["repeat_kv"] = mine'),
        ("vars()", "vars().update(repeat_kv=mine)"),
        ("locals()", 'locals()["repeat_kv"] = mine'),
        ("builtins.globals()", 'import builtins\n\nbuiltins.globals()["repeat_kv"] = mine'),
        ("__globals__", 'mine.__globals__["repeat_kv"] = mine'),
        ("f_globals", 'import inspect\n\ninspect.currentframe().f_globals["repeat_kv"] = mine'),
    ],
)
def test_a_file_that_may_bind_any_of_its_names_is_refused(says, text):
    refused = convert_text(varied(at_the_end(text)), rules=rules())
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    assert diagnostic.code == "P103" and says in diagnostic.label and "relies on" in diagnostic.label
