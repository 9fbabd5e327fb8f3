"""What releases spell otherwise, each spelling under whichever release is installed, by stand-ins for the other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.release.words import CACHE_BEFORE_5_24, CACHE_SINCE_5_24
from porter.runtime import cropping, layer_types
from porter.runtime.cache_name import GENERATED, by_either_name, cache_name, returned_cache, with_cache
from porter.source import load_source

OLD, NEW = CACHE_BEFORE_5_24, CACHE_SINCE_5_24


@pytest.fixture(scope="module")
def text():
    """The modeling file of Llama, with imports that hold anywhere."""
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused)
    return re.sub(
        r"from \.configuration_llama",
        "from transformers.models.llama.configuration_llama",
        library.text.replace("from ...", "from transformers."),
    )


def ported(text, folder):
    file = folder / "modeling_mine.py"
    file.write_text(text)
    source = load_source(str(file))
    assert not isinstance(source, Refused)
    result = convert(source, name="mine")
    assert not isinstance(result, Refused), result
    return result


def said_as_5_24(text):
    text = re.sub(rf"\b{OLD}\b", NEW, text)
    text = re.sub(r"(cache\.update\([^()]*self\.layer_idx)\)", r"\1, kwargs=kwargs)", text)
    marked = f'    @deprecate_kwarg("{OLD}", "99.0.0", new_name="{NEW}")\n    def forward(\n'
    if "deprecate_kwarg" not in text:
        text = text.replace("    def forward(\n", marked)
        text = text.replace("\nlogger = ", "\nfrom transformers.utils.deprecation import deprecate_kwarg\nlogger = ", 1)
    return text


def said_as_5_14(text):
    return text.replace('@use_kernel_forward_from_hub("rotary', '@use_kernel_func_from_hub("rotary').replace(
        "use_kernel_forward_from_hub,", "use_kernel_forward_from_hub, use_kernel_func_from_hub,"
    )


@pytest.mark.parametrize("said", [said_as_5_14, said_as_5_24], ids=lambda said: said.__name__)
def test_every_site_is_ported_however_a_release_says_it(text, said, tmp_path):
    other = said(text)
    result = ported(other, tmp_path)
    assert {site.status for site in result.sites} == {"ported"}
    assert [site.name for site in result.sites] == [site.name for site in ported(text, tmp_path).sites]
    if said is said_as_5_24:
        assert "kwargs=kwargs)" in other and "kwargs=kwargs)" not in result.code
        assert f'@deprecate_kwarg("{OLD}"' in result.code


def test_another_argument_of_a_cache_s_update_is_not_seen_through(text, tmp_path):
    other = said_as_5_24(text).replace("kwargs=kwargs)", "kwargs=dict(kwargs, scale=2))")
    assert "attention" not in {rule for rule, _ in ported(other, tmp_path).rules}


def test_a_cache_is_handed_over_by_the_name_that_is_taken():
    def older(ids, past_key_values=None):
        return past_key_values

    def newer(ids, cache=None):
        return cache

    assert (cache_name(older), cache_name(newer)) == (OLD, NEW)
    assert cache_name(SimpleNamespace(forward=newer)) == NEW
    assert older(0, **with_cache(older, 1)) == newer(0, **with_cache(newer, 1)) == 1
    assert GENERATED in (OLD, NEW)


def test_a_cache_is_found_in_a_result_by_either_name():
    @dataclass
    class Older:
        past_key_values: object = None

    @dataclass
    class Newer:
        cache: object = None

    assert (returned_cache(Older(1)), returned_cache(Newer(2)), returned_cache(Newer()), returned_cache(())) == (
        *(1, 2),
        *(None, None),
    )


def test_a_function_of_the_runtime_takes_either_name_and_not_both():
    @by_either_name
    def made(states, past_key_values, **unsupported):
        return past_key_values, unsupported

    assert made(0, cache=1) == made(0, past_key_values=1) == made(0, 1) == (1, {})
    assert made(0, past_key_values=1, cache=2) == (1, {"cache": 2})
    with pytest.raises(TypeError):
        made(0)


def test_options_of_all_layers_are_those_of_the_layers_they_speak_of(monkeypatch):
    kinds = ["full_attention", "sliding_attention"]
    older = SimpleNamespace(get_layer_types_and_kwargs=lambda config: (kinds, {"sliding_window": 4}))
    newer = SimpleNamespace(get_layer_types_and_kwargs=lambda config: (kinds, [{}, {"sliding_window": 4}]))
    for told in (older, newer):
        monkeypatch.setattr(layer_types, "cache_utils", told)
        assert layer_types.layer_types_and_options(None) == (kinds, [{}, {"sliding_window": 4}])


def test_a_length_to_keep_is_one_where_the_release_says_so(monkeypatch):
    assert cropping.tokens_to_remove(-3, 10) == 3 and cropping.tokens_to_remove(0, 10) == 0
    monkeypatch.setattr(cropping, "_KEEPS", True)
    assert cropping.tokens_to_remove(7, 10) == 3 and cropping.tokens_to_remove(12, 10) == 0
    monkeypatch.setattr(cropping, "_KEEPS", False)
    with pytest.raises(ValueError, match="not 7"):
        cropping.tokens_to_remove(7, 10)
