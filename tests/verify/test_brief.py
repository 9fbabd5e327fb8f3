"""The brief comparison: equal ports are equal, a port that computes something else is not."""

from porter.diagnostics import Refused
from porter.verify.brief import Compared, compare
from porter.verify.port import open_to_compare
from porter.verify.tiny import known_model_types, tiny_config, variants


def compared(folder) -> Compared:
    port = open_to_compare(folder)
    assert not isinstance(port, Refused), port
    found = compare(port)
    assert not isinstance(found, Refused), found
    return found


def test_a_port_is_equal_to_its_source(llama, mistral):
    for folder in (llama, mistral):
        found = compared(folder)
        assert found.equal and found.same_tokens and found.figure <= 1e-5
        assert found.ops["npu_rotary_mul"] == 4


def test_a_port_that_computes_something_else_is_different(broken):
    found = compared(broken("scale=self.scaling", "scale=self.scaling * 1.01"))
    assert not found.equal and found.figure > 1e-5


def test_neither_logits_nor_tokens_alone_make_equal():
    assert Compared(1e-6, True, {}).equal
    assert not Compared(1e-6, False, {}).equal
    assert not Compared(1e-4, True, {}).equal and not Compared(float("nan"), True, {}).equal


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
