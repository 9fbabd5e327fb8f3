"""What a rewrite leaves as it is: comments, helpers, names, layout."""

from __future__ import annotations

import ast
from dataclasses import replace

import libcst
import pytest

from porter.convert import convert, inspect
from porter.diagnostics import Refused
from tests.engine.sources import (
    FAMILY,
    accepted,
    comments,
    convert_text,
    free_standing,
    port,
    port_of,
    rules_of,
    source_of,
    text_of,
    varied,
)

MLP = "self.act_fn(self.gate_proj(x)) * self.up_proj(x)"
LAST_IMPORT = "from .configuration_llama import LlamaConfig\n"
ACTIVATIONS = "from ...activations import ACT2FN\n"
ATTENTION_TEXT = "        query_states = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)\n"


def swept_lines(model: str) -> set[int]:
    """Lines of the source that were swept as a whole: helpers that died, decorators of the kernel hub."""
    return {n for c in port_of(model).changes if c.rule is None for n in range(c.start, c.end + 1)}


@pytest.mark.parametrize("model", FAMILY)
def test_every_comment_outside_what_was_swept_is_in_the_port(model):
    swept = swept_lines(model)
    kept = "".join(
        line if number not in swept else "\n"
        for number, line in enumerate(text_of(model).splitlines(keepends=True), start=1)
    )
    lost = comments(kept) - comments(port_of(model).code)
    assert not lost


@pytest.mark.parametrize("model", FAMILY)
def test_the_port_is_python_that_a_second_parser_reads_and_prints_as_it_is(model):
    code = port_of(model).code
    assert libcst.parse_module(code).code == code


@pytest.mark.parametrize("model", FAMILY)
def test_a_second_conversion_finds_nothing_to_change(model):
    again = inspect(free_standing(port_of(model).code))
    assert not isinstance(again, Refused) and again.plan.applications == ()


@pytest.mark.parametrize("model", FAMILY)
def test_no_line_of_the_port_ends_in_blanks(model):
    assert all(line == line.rstrip() for line in port_of(model).code.splitlines())


@pytest.mark.parametrize("model", FAMILY)
def test_no_line_of_the_port_is_too_long(model):
    assert all(len(line) <= 120 for line in port_of(model).code.splitlines())


@pytest.mark.parametrize("model", FAMILY)
def test_every_global_name_of_the_port_is_defined(model):
    code = port_of(model).code
    tree = ast.parse(code)
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    defined |= {(a.asname or a.name) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    for name in ("torch_npu", "prepare_kv_cache", "npu_causal_mask", "actual_seq_lengths", "RowMerge"):
        if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(tree)):
            assert name in defined


COMMENTED = {
    "behind an argument of the attention call": (
        "            attention_mask,\n            dropout",
        "            attention_mask,  # HERE\n            dropout",
    ),
    "behind a sum": (
        "hidden_states = residual + hidden_states\n",
        "hidden_states = residual + hidden_states  # HERE\n",
    ),
    "behind the layer loop": ("self.config.num_hidden_layers]:\n", "self.config.num_hidden_layers]:  # HERE\n"),
    "among the arguments of the layer": (
        "                attention_mask=causal_mask,\n                position_emb",
        "                # HERE\n                attention_mask=causal_mask,\n                position_emb",
    ),
    "behind a parameter": (
        "        hidden_states: torch.Tensor,\n        attention_mask",
        "        hidden_states: torch.Tensor,  # HERE\n        attention_mask",
    ),
    "inside the cache's branch": (
        "past_key_values = DynamicCache(",
        "# HERE\n            past_key_values = DynamicCache(",
    ),
    "behind a base class": ("(PreTrainedModel):\n", "(PreTrainedModel):  # HERE\n"),
    "behind an import that goes": (ACTIVATIONS, ACTIVATIONS.replace("\n", "  # HERE\n")),
    "above a helper that goes": ("def rotate_half", "# HERE\ndef rotate_half"),
    "in a run that is replaced": (ATTENTION_TEXT, ATTENTION_TEXT + "        # HERE\n"),
}
LOST = {
    "inside an expression": (
        MLP,
        "(\n            self.act_fn(self.gate_proj(x))  # HERE\n            * self.up_proj(x)\n        )",
    ),
    "in the arguments of a projection": (
        "self.q_proj(hidden_states)",
        "self.q_proj(\n            hidden_states  # HERE\n        )",
    ),
    "in a list of imports that shrinks": (
        ACTIVATIONS + "from ...cache_utils import Cache, DynamicCache\n",
        ACTIVATIONS + "from ...cache_utils import (\n    Cache,  # HERE\n    DynamicCache,\n)\n",
    ),
}


@pytest.mark.parametrize("pair", COMMENTED.values(), ids=COMMENTED)
def test_a_comment_survives(pair):
    assert "# HERE" in port(varied(pair)).code


@pytest.mark.parametrize("pair", LOST.values(), ids=LOST)
def test_a_comment_survives_there_too(pair):
    assert "# HERE" in port(varied(pair)).code


def test_what_only_a_rewrite_used_goes():
    code = port_of("llama").code
    for name in ("def rotate_half", "def repeat_kv", "def eager_attention_forward", "ACT2FN", "DynamicCache"):
        assert name not in code


def test_a_helper_that_was_dead_before_stays():
    dead = "def nobody_calls_me(x):\n    return rotate_half(x)\n\n\ndef repeat_kv"
    code = port(varied(("def repeat_kv", dead))).code
    assert "def nobody_calls_me" in code and "def rotate_half" in code


def test_an_import_that_was_unused_before_stays():
    assert "import ACT2CLS" in port(varied((ACTIVATIONS, ACTIVATIONS + "from x import ACT2CLS\n"))).code


def test_a_helper_that_other_code_uses_stays():
    assert (
        "def repeat_kv"
        in port(varied(("class LlamaDecoderLayer(", "repeat = repeat_kv\n\n\nclass LlamaDecoderLayer("))).code
    )


def test_a_helper_named_in_all_stays():
    assert "def rotate_half" in port(varied(("__all__ = [\n", '__all__ = [\n    "rotate_half",\n'))).code


def test_a_caller_that_was_dead_before_keeps_what_it_calls():
    chain = "def halves(x):\n    return rotate_half(x)\n\n\ndef rotate_half"
    code = port(varied(("def rotate_half", chain))).code
    assert "def halves" in code and "def rotate_half" in code


def test_helpers_fall_one_after_the_other():
    """The port calls no `eager_attention_forward`, so nobody calls the `repeat_kv` that it called."""
    text = text_of("llama")
    assert text.count("repeat_kv(") == 3 and text.index("def eager_attention_forward") < text.rindex("repeat_kv(")
    code = port(text).code
    assert "def eager_attention_forward" not in code and "repeat_kv" not in code


KEYWORDS = "                attention_mask=causal_mask,\n                position_emb"
LAYOUT = {
    "parenthesized chains": (
        "self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)\n",
        "(\n            self.q_proj(hidden_states)\n"
        "            .view(hidden_shape)\n            .transpose(1, 2)\n        )\n",
    ),
    "a semicolon behind the last import": (LAST_IMPORT, LAST_IMPORT.replace("\n", "; VERSION = 1\n")),
    "an import that goes before a semicolon": (ACTIVATIONS, ACTIVATIONS.replace("\n", "; import math\n")),
    "positional arguments of the layer": (KEYWORDS, KEYWORDS.replace("attention_mask=", "")),
}


@pytest.mark.parametrize("pair", LAYOUT.values(), ids=LAYOUT)
def test_an_unusual_layout_is_no_crash(pair):
    port(varied(pair))


def test_lines_of_a_port_end_in_one_way():
    assert port(text_of("llama").replace("\n", "\r\n")).code == port(text_of("llama")).code


def test_a_source_indented_by_tabs_is_refused_at_its_first_tab():
    source = source_of("llama")
    refused = convert(replace(source, text=source.text.replace("    ", "\t")), name="llama")
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    first = source.text.splitlines().index("    GenericForQuestionAnswering,") + 1
    assert (diagnostic.code, diagnostic.span.line) == ("P012", first)


@pytest.mark.parametrize("name", ["torch_npu", "prepare_kv_cache", "npu_causal_mask", "actual_seq_lengths"])
def test_a_name_the_port_needs_is_not_one_the_source_assigns(name):
    assert "attention" not in rules_of(port(varied(("logger = logging", f"{name} = None\nlogger = logging"))))


def test_a_function_of_the_source_is_not_the_runtime_s():
    own = "def actual_seq_lengths(cache, layer):\n    return None\n\n\ndef repeat_kv"
    assert "attention" not in rules_of(port(varied(("def repeat_kv", own))))


def test_a_local_of_the_source_keeps_its_name_and_the_new_one_steps_aside():
    taken = ("        cos, sin = position_embeddings\n", "        query = 1\n        cos, sin = position_embeddings\n")
    code = port(varied(taken)).code
    assert "query_, key, value = self.qkv(hidden_states)" in code and "        query = 1\n" in code


def test_a_local_does_not_hide_a_global_that_the_rewrite_uses():
    hides = (
        "        down_proj = self.down_proj(",
        "        torch_npu = 2\n        down_proj = torch_npu * self.down_proj(",
    )
    assert "swiglu" not in rules_of(port(varied(hides)))


def test_a_lambda_of_a_rule_beside_a_local_of_its_parameter_s_name():
    """The parameter gets another name, where it stands and where it is read."""
    text = text_of("llama").replace("decoder_layer", "layer")
    assert "for layer in self.layers" in text
    code = accepted(convert_text(text)).code
    made = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Lambda)]
    read = [node.body.value.id for node in made if isinstance(node.body, ast.Attribute)]
    assert read and read == [node.args.args[0].arg for node in made if isinstance(node.body, ast.Attribute)]
    assert "layer" not in read
