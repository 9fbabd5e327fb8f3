"""The account misses no class: what building each model gives, against what reading its file saw."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from porter.diagnostics import Refused
from porter.matrix.library import LIBRARY, causal_modules
from tests.ports.census import RECORD, Census, anatomy_of, census_of, unseen

CENSUS = json.loads(RECORD.read_text(encoding="utf-8"))
BUILT = {module: entry for module, entry in CENSUS.items() if "own" in entry}
VARIED = (
    *("bart", "blt", "deepseek_v4", "falcon_h1", "gemma3n", "gpt2", "jamba", "kosmos2_5", "llama", "mllama"),
    *("moss_transcribe_diarize", "phi4_multimodal", "qwen3_next", "rwkv", "xlstm", "zamba2"),
)


def test_every_causal_model_of_the_library_is_in_the_record_and_no_class_of_them_is_unseen():
    assert tuple(CENSUS) == causal_modules()
    assert len(BUILT) >= 179 and all(entry["not built"] for entry in CENSUS.values() if "own" not in entry)
    assert {module: entry["unseen"] for module, entry in BUILT.items() if entry["unseen"]} == {}


@pytest.mark.parametrize("model", VARIED)
def test_building_a_model_shows_no_class_that_reading_it_did_not(model):
    module = f"{LIBRARY}.{model}.modeling_{model}"
    anatomy = anatomy_of(module)
    assert not isinstance(anatomy, Refused)
    census = census_of(module, anatomy.causal)
    assert len(census.own) > 3 and unseen(census, anatomy) == []
    recorded = BUILT[module]
    assert (list(census.own), list(census.outer)) == (recorded["own"], recorded["outer"])
    assert list(anatomy.unknown) == recorded["unknown"]


def test_a_class_that_was_not_seen_is_told():
    anatomy = anatomy_of(f"{LIBRARY}.llama.modeling_llama")
    assert not isinstance(anatomy, Refused)
    census = Census("LlamaForCausalLM", ("LlamaModel", "LlamaLostLayer"), ("ViTModel",))
    assert unseen(census, anatomy) == ["LlamaLostLayer", "ViTModel"]
    blind = replace(anatomy, roles={name: role for name, role in anatomy.roles.items() if role != "attention"})
    assert unseen(Census("LlamaForCausalLM", ("LlamaAttention",), ()), blind) == ["LlamaAttention"]
