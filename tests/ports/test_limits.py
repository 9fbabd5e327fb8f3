"""What transformers' own tests find missing in a port is what the page `limits` says is missing: each limit shown on
a port, and the record of those tests (`python tests/ports/transformers_tests.py FOLDER --record`) explained by them."""

import fnmatch
import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from transformers.cache_utils import DynamicCache, StaticCache
from transformers.generation import CompileConfig

from porter.runtime import StaticKVCache, load_model_class
from tests.pages.blocks import prose
from tests.ports.transformers_tests import LIMITS, MODELS, RECORD, explaining, judge, lay_out, stale

ROOT = Path(__file__).resolve().parents[2]
TABLE, RECORDED = json.loads(LIMITS.read_text()), json.loads(RECORD.read_text())
IDS = torch.arange(3, 10)[None]


@pytest.fixture(scope="module")
def port():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=100,
    )  # fmt: skip
    return load_model_class("llama2")(config).eval()


def test_asking_for_attention_weights_is_an_error(port):
    with torch.no_grad(), pytest.raises(ValueError, match="gives no weights out"):
        port(IDS, output_attentions=True)


def test_a_backward_pass_is_an_error(port):
    with pytest.raises(NotImplementedError, match="has no gradient here"):
        port(IDS, labels=IDS).loss.backward()


@torch.no_grad()
def test_the_cache_is_a_port_s_own_in_bsnd(port):
    cache = port(IDS, use_cache=True).past_key_values
    assert isinstance(cache, StaticKVCache) and not isinstance(cache, StaticCache)
    assert cache.layers[0].keys.shape[2:] == (2, 8)  # (B, S, N, D)
    with pytest.raises(TypeError, match="DynamicCache"):
        port(IDS, past_key_values=DynamicCache(config=port.config))


def test_generate_does_not_compile_by_itself(port):
    config = CompileConfig(backend="eager")
    config._compile_all_devices = True  # as generate() does on an accelerator
    port.generate(IDS, max_new_tokens=3, cache_implementation="static", compile_config=config, do_sample=False)
    assert not hasattr(port, "_compiled_call")


def test_merged_projections_are_in_no_tp_plan(port):
    held = {name.rsplit(".", 1)[-1] for name, _ in port.named_modules()}
    assert not {"q_proj", "gate_proj"} & held
    assert not port.tp_plan  # of the source's plan nothing is left that would name them


def test_attention_is_the_one_op(port):
    assert not type(port)._can_set_attn_implementation()


def test_each_limit_is_in_the_page_and_shown_here():
    page = prose(ROOT / "porter" / "pages" / "limits.md")
    assert len({limit["limit"] for limit in TABLE}) == len(TABLE) > 0
    for limit in TABLE:
        assert set(limit) == {"limit", "page", "asserted by", "errors", "tests"}
        assert limit["page"] and limit["page"] in page
        assert callable(globals()[limit["asserted by"]]) and limit["asserted by"].startswith("test_")
        assert limit["errors"] and all(limit["errors"])
        assert limit["tests"] and all(pattern.startswith("test_") for pattern in limit["tests"])


def test_each_recorded_failure_has_its_limit():
    assert set(RECORDED["models"]) == set(MODELS)
    patterns = {limit["limit"]: limit["tests"] for limit in TABLE}
    for found in RECORDED["models"].values():
        assert found["passed"] > 100 and not found["failed on the source too"] and not found["unexplained"]
        assert found["failed or skipped by limit"] == sum(map(len, found["by limit"].values()))
        for limit, tests in found["by limit"].items():
            assert all(any(fnmatch.fnmatchcase(test, pattern) for pattern in patterns[limit]) for test in tests)


def test_a_failure_is_explained_by_its_name_and_its_error_together():
    limits = [{"limit": "no weights", "errors": ["no weights here"], "tests": ["test_weights*"]}]
    assert explaining(limits, "test_weights_of_heads", "ValueError: no weights here, ask the source")
    assert not explaining(limits, "test_weights_of_heads", "IndexError: 3")
    assert not explaining(limits, "test_tokens", "ValueError: no weights here")


def test_what_the_port_alone_fails_or_skips_counts():
    limits = [{"limit": "no weights", "errors": ["no weights"], "tests": ["test_weights", "test_unused"]}]
    passed, no_hub = ["passed", ""], ["skipped", "no hub"]
    source = dict.fromkeys(("test_a", "test_b", "test_c", "test_e", "test_weights"), passed)
    source |= {"test_s": no_hub, "test_d": ["failed", "x"]}
    port = {"test_a": passed, "test_s": no_hub, "test_weights": ["failed", "no weights"], "test_d": ["failed", "x"]}
    port |= {"test_b": ["skipped", "not supported"], "test_c": ["failed", "wrong"]}
    judged = judge(source, port, limits)
    assert (judged.passed, judged.skipped, judged.explained) == (1, 1, {"no weights": ["test_weights"]})
    assert judged.unexplained == {
        "test_b": "skipped: not supported", "test_c": "failed: wrong", "test_e": "not run on the port",
    }  # fmt: skip
    assert judged.of_the_source == ["test_d"]
    assert stale(limits, {"llama": judged}) == ["no weights: test_unused"]


def test_a_folder_that_lacks_the_tests_is_said_to(tmp_path):
    (tmp_path / "test_modeling_common.py").touch()
    with pytest.raises(SystemExit, match=r"no causal_lm_tester.py, generation/test_utils.py, models/llama"):
        lay_out(tmp_path, tmp_path / "place")
