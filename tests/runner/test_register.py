"""`porter.register`: transformers' auto classes take the port, until that is undone."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, pipeline

import porter
from porter.convert import convert
from porter.emit import emit
from porter.runner import CannotRun
from porter.runtime import StaticKVCache, load_model_class
from porter.source import load_source
from tests.runner.reference import PROMPTS, source_model, source_rows
from tests.verify.conftest import write_checkpoint_code


@pytest.fixture
def registered(models_folder):
    with porter.register("llama2", models_folder) as made:
        yield made


def test_auto_classes_take_the_port_and_give_the_source_s_answers(registered, models_folder, checkpoint):
    port = load_model_class("llama2", models_folder)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert type(model) is port is registered.model_class
    ids = torch.tensor([AutoTokenizer.from_pretrained(checkpoint)(PROMPTS[0])["input_ids"]])
    output = model(ids)
    assert torch.allclose(output.logits, source_model(checkpoint)(ids).logits, atol=1e-5)
    assert isinstance(output.past_key_values, StaticKVCache)
    assert type(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(checkpoint))) is port
    generator = pipeline("text-generation", model=str(checkpoint))
    assert type(generator.model) is port
    (answer,) = generator(PROMPTS[0], max_new_tokens=8, do_sample=False, return_full_text=False)
    expected = source_rows(checkpoint, PROMPTS[:1], 8)[0]
    assert answer["generated_text"] == generator.tokenizer.decode(expected, skip_special_tokens=True)


def test_the_source_s_class_stays_what_it_is_and_undoing_leaves_nothing(models_folder, checkpoint):
    before = AutoModelForCausalLM.from_pretrained(checkpoint)
    made = porter.register("llama2", models_folder)
    assert porter.register("llama2", models_folder) is made
    assert type(LlamaForCausalLM.from_pretrained(checkpoint)) is type(before) is LlamaForCausalLM
    kept = AutoModelForCausalLM.from_pretrained(checkpoint)
    made.undo()
    assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is made.model_class
    made.undo()
    made.undo()  # once more than it was registered
    assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is LlamaForCausalLM
    assert type(kept) is made.model_class and kept(torch.tensor([[1, 2]])).logits.isfinite().all()
    again = porter.register("llama2", models_folder)
    made.undo()  # of the first, which is over
    assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is again.model_class
    again.undo()


def test_a_with_inside_another_leaves_the_outer_one(models_folder, checkpoint):
    with porter.register("llama2", models_folder) as outer:
        for _ in range(2):
            with porter.register("llama2", models_folder), pytest.raises(CannotRun, match="lama2"):
                porter.register("lama2", models_folder)  # a refusal counts for nothing
            assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is outer.model_class
    assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is LlamaForCausalLM


def test_what_is_saved_is_a_checkpoint_of_the_source(registered, checkpoint, tmp_path):
    AutoModelForCausalLM.from_pretrained(checkpoint).save_pretrained(tmp_path)
    assert not hasattr(AutoConfig.from_pretrained(tmp_path), "auto_map") and not list(tmp_path.glob("*.py"))
    source = LlamaForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(source[name], value) for name, value in source_model(checkpoint).state_dict().items())


def test_two_ports_of_one_configuration_are_an_error_that_names_both(registered, tmp_path, models_folder, checkpoint):
    other = convert(load_source("transformers.models.llama"), name="mine")
    emit(other, tmp_path / "mine")
    with pytest.raises(CannotRun, match="taken by the port `llama2`: `mine` cannot have them too") as refused:
        porter.register("mine", tmp_path)
    assert refused.value.diagnostic.code == "P160"
    assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is registered.model_class
    registered.undo()
    with porter.register("mine", tmp_path) as mine:
        assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is mine.model_class
        with pytest.raises(CannotRun, match="taken by the port `mine`"):
            porter.register("llama2", models_folder)


def test_somebody_else_s_class_keeps_its_configuration(models_folder, checkpoint):
    class Mine(LlamaForCausalLM):
        pass

    content = AutoModelForCausalLM._model_mapping._extra_content
    AutoModelForCausalLM.register(LlamaForCausalLM.config_class, Mine, exist_ok=True)
    try:
        with pytest.raises(CannotRun, match=r"are taken by .*Mine") as refused:
            porter.register("llama2", models_folder)
        assert refused.value.diagnostic.code == "P160"
        assert type(AutoModelForCausalLM.from_pretrained(checkpoint)) is Mine
    finally:
        del content[LlamaForCausalLM.config_class]


def test_refusals_are_those_of_a_runner(models_folder, tmp_path):
    with pytest.raises(CannotRun, match="llama2") as refused:
        porter.register("lama2", models_folder)
    assert refused.value.diagnostic.code == "P080"
    source = load_source(str(write_checkpoint_code(tmp_path / "code")))
    emit(convert(source, name="mine"), tmp_path / "models" / "mine")
    with pytest.raises(CannotRun) as refused:
        porter.register("mine", tmp_path / "models")
    assert refused.value.diagnostic.code == "P141"
    with porter.register("mine", tmp_path / "models", trust_remote_code=True) as made:
        model = AutoModelForCausalLM.from_config(made.config_class(**tiny(made.config_class)))
        assert type(model) is made.model_class


def tiny(config_class):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    return {**sizes, "num_key_value_heads": 2, "vocab_size": 64}


def test_importing_porter_registers_and_imports_nothing():
    code = (
        "import sys, porter; assert 'torch' not in sys.modules; import porter.runner; "
        "from transformers import AutoModelForCausalLM as A; assert not A._model_mapping._extra_content; "
        "assert not hasattr(porter, 'registers') and callable(porter.register)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
