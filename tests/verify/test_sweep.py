"""The sweep: one line a model, whatever the model does."""

from porter.verify.sweep import sweep
from porter.verify.tiny import known_model_types, tiny_config, variants


def test_each_model_has_its_outcome(broken, llama, mistral, tmp_path):
    ports = [
        ("llama", llama),
        ("wrong", broken("scale=self.scaling", "scale=self.scaling * 1.01", "wrong")),
        ("raises", broken("class LlamaRotaryEmbedding", "1 / 0\n\n\nclass LlamaRotaryEmbedding", "raises")),
        (
            "dies",
            broken("class LlamaRotaryEmbedding", "import os; os._exit(3)\n\n\nclass LlamaRotaryEmbedding", "dies"),
        ),
        ("none", tmp_path / "nowhere"),
        ("mistral", mistral),
    ]
    seen = []
    found = sweep(ports, progress=lambda what, done, total: seen.append((what, done, total)))
    assert [one.model_type for one in found] == [name for name, _ in ports]
    assert [one.outcome for one in found] == ["equal", "different", "error", "error", "error", "equal"]
    assert found[0].figure is not None and found[0].figure <= 1e-5 and "npu_rotary_mul" in found[0].detail
    assert found[1].figure is not None and found[1].figure > 1e-5
    assert "ZeroDivisionError" in found[2].detail and "died" in found[3].detail
    assert [done for _, done, _ in seen] == [1, 2, 3, 4, 5, 6] and {total for *_, total in seen} == {6}


def test_a_model_that_hangs_is_stopped(broken):
    hangs = broken("class LlamaRotaryEmbedding", "import time; time.sleep(999)\n\n\nclass LlamaRotaryEmbedding")
    (found,) = sweep([("hangs", hangs)], seconds=2)
    assert found.outcome == "error" and "no answer" in found.detail and found.seconds < 999


def test_a_tiny_configuration_for_an_unknown_type_is_shrunk_by_its_fields():
    from transformers import LlamaConfig

    class Unknown(LlamaConfig):
        model_type = "never_heard_of"

    assert Unknown.model_type not in known_model_types()
    config = tiny_config(Unknown)
    assert (config.hidden_size, config.num_hidden_layers, config.num_key_value_heads) == (64, 2, 4)
    grouped = next(variant for variant in variants(Unknown) if variant.name == "grouped heads")
    assert tiny_config(Unknown, **grouped.overrides).num_key_value_heads == 2


def test_variants_without_a_field_say_so():
    from transformers import GPT2Config, Qwen2Config

    by_name = {variant.name: variant for variant in variants(GPT2Config)}
    assert by_name["yarn rope"].reason and by_name["plain heads"].reason
    qwen = {variant.name: variant for variant in variants(Qwen2Config)}
    config = tiny_config(Qwen2Config, **qwen["sliding window"].overrides)
    assert "sliding_attention" in config.layer_types
