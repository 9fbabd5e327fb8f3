"""Attributes and arguments that attention relies on: another value, and the site is left with that reason."""

from __future__ import annotations

import pytest

from tests.engine.relied import ATTENTION, DROPPED, HANDED_ON, INIT_OF_ATTENTION, change, inside, left
from tests.engine.variations import INIT, LAYER_CALL, ROTARY, before, behind

MODULE_CHANGES = [
    change("not causal", "`self.is_causal = False` is False", (INIT, "        self.is_causal = False\n")),
    change("not causal later", "self.is_causal = False", inside("self.is_causal = False")),
    change("causal if the configuration says so", "unknown", (INIT, "        self.is_causal = config.causal\n")),
    change("causal in some layers", "self.is_causal", (INIT, "        self.is_causal = layer_idx > 0\n")),
    change("not causal by unpacking", "self.is_causal", (INIT, "        self.is_causal, self.other = False, True\n")),
    change("not causal in a call", "self.is_causal", before(ROTARY, "        self.is_causal = False\n")),
    change(
        "not causal by its class",
        "is_causal = False",
        behind("class LlamaAttention(nn.Module):\n", "    is_causal = False\n"),
    ),
    change(
        "causal as a property",
        "may be any value",
        (INIT, ""),
        before(
            INIT_OF_ATTENTION,
            "    @property\n    def is_causal(self):\n        return False\n\n",
        ),
    ),
    change("not causal by setattr", '"is_causal"', inside('setattr(self, "is_causal", False)')),
    change("not causal by its dict", '"is_causal"', inside('self.__dict__["is_causal"] = False')),
    change(
        "not causal from its layer",
        "is_causal = False",
        behind("LlamaAttention(config=config, layer_idx=layer_idx)\n", "        self.self_attn.is_causal = False\n"),
    ),
    change(
        "not causal by an argument of its layer",
        "is_causal=False",
        (
            HANDED_ON,
            HANDED_ON + "            is_causal=False,\n",
        ),
    ),
    change(
        "not causal by an argument of the model",
        "is_causal=False",
        (LAYER_CALL, LAYER_CALL + "                is_causal=False,\n"),
    ),
    change("not causal by kwargs", "closest attention", before(ROTARY, '        kwargs["is_causal"] = False\n')),
    change(
        "not causal by updated kwargs", "is_causal=False", before(ROTARY, "        kwargs.update(is_causal=False)\n")
    ),
    change(
        "a base of another file that nobody can read",
        "Mixin",
        ("class LlamaAttention(nn.Module):", "class LlamaAttention(Mixin, nn.Module):"),
        before(ATTENTION, "from somewhere import Mixin\n\n\n"),
    ),
    change(
        "a base that is not causal",
        "is_causal = False",
        ("class LlamaAttention(nn.Module):", "class LlamaAttention(Free, nn.Module):"),
        before(ATTENTION, "class Free:\n    is_causal = False\n\n\n"),
    ),
    change("dropout in eval", "self.attention_dropout", (DROPPED, "dropout=self.attention_dropout")),
    change("dropout in eval only", "self.attention_dropout", (DROPPED, DROPPED.replace("not self", "self"))),
    change("a fixed dropout", "0.1", (DROPPED, "dropout=0.1")),
    change("an implementation of its own", "_attn_implementation", inside('self.config._attn_implementation = "mine"')),
    change(
        "an implementation from the outside",
        "_attn_implementation",
        behind(
            "LlamaAttention(config=config, layer_idx=layer_idx)\n", "        config._attn_implementation = choose()\n"
        ),
    ),
]


@pytest.mark.parametrize(("says", "pairs"), MODULE_CHANGES)
def test_another_module_keeps_the_fused_attention_away(says, pairs):
    left("attention", says, *pairs)
