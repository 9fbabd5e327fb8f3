"""`porter run`: what it prints, where, and with which exit code; the run script of a port."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from porter.bench.demo_checkpoint import make_demo_checkpoint
from tests.cli.conftest import ROOT
from tests.runtime.adapter_kinds import lora, write_adapter
from tests.verify.conftest import write_checkpoint_code

TEXT = ["porter turns a model into a model. " * 20]
PROMPT = "porter turns"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Trained for a moment, on one sentence."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo_checkpoint(folder, TEXT, steps=40)
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint) -> str:
    """What the unported model answers."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    tokens = LlamaForCausalLM.from_pretrained(checkpoint).generate(ids, max_new_tokens=8, do_sample=False)
    text = tokenizer.decode(tokens[0, ids.shape[1] :])
    assert " model" in text  # it has learnt something
    return text


@pytest.fixture
def run(porter_here, checkpoint):
    def call(*words, model_path=checkpoint):
        return porter_here("run", "llama2", "--model-path", model_path, "--max-new-tokens", 8, *words)

    return call


def test_the_answer_is_on_stdout_and_the_times_are_not(run, expected):
    done = run("--prompt", PROMPT)
    assert done.code == 0
    assert done.out == f"{PROMPT}{expected}\n"
    assert "prefill" in done.err and "tokens/s" in done.err and "prefill" not in done.out


def test_prompts_from_a_file_are_one_batch(run, expected, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text(f"{PROMPT}\n\ninto a\n")
    document = json.loads(run("--prompts-file", file, "--json").out)
    assert [answer["prompt"] for answer in document["answers"]] == [PROMPT, "into a"]
    assert document["answers"][0]["text"] == expected and len(document["answers"][0]["token_ids"]) == 8
    assert document["ok"] and document["execute_mode"] == "eager"
    assert document["prefill_ms"] > 0 and document["ms_per_token"] > 0 and document["tokens_per_second"] > 0


@pytest.mark.parametrize("padding", ["--input-padding", "--no-input-padding"])
def test_dynamo_gives_the_same_answer(run, padding):
    words = ("--prompt", PROMPT, "--execute-mode", "dynamo", "--backend", "eager", padding, "--input-max-len", 16)
    assert run(*words, "--dtype", "float32", "--device", "cpu").out == run("--prompt", PROMPT).out


def test_a_stream_is_the_same_text(run):
    assert run("--prompt", PROMPT, "--stream").out == run("--prompt", PROMPT).out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--prompt", "a", "--prompts-file", "b"),
        ("--prompt", "a", "--dtype", "x"),
    ],
    ids=str,
)
def test_usage_errors(run, words):
    done = run(*words)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--prompt", ""), "P085"),
        (("--prompt", "a " * 50, "--input-max-len", 4), "P085"),
        (("--prompts-file", "/nowhere"), "P085"),
        (("--prompt", "a", "--execute-mode", "dynamo", "--backend", "max-autotune"), "P086"),
        (("--prompt", "a", "--adapter", "/nowhere"), "P094"),
    ],
)
def test_what_cannot_run_is_a_diagnostic(run, words, code, as_json):
    done = run(*words, *(["--json"] if as_json else []))
    assert done.code == 1
    if as_json:
        assert json.loads(done.out)["diagnostics"][0]["code"] == code
    else:
        assert done.out == "" and f"error[{code}]: " in done.err and "  = help: " in done.err


def test_an_adapter_answers_as_on_the_source(run, checkpoint, expected, tmp_path):
    source = LlamaForCausalLM.from_pretrained(checkpoint)
    tuned = write_adapter(source, lora(), tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    tokens = tuned.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    done = run("--prompt", PROMPT, "--adapter", tmp_path / "adapter", "--json")
    (answer,) = json.loads(done.out)["answers"]
    assert answer["token_ids"] == tokens[0, ids.shape[1] :].tolist() and answer["text"] != expected


def test_a_misspelt_name_and_a_missing_folder(run, porter_here, checkpoint, tmp_path):
    done = porter_here("run", "lama2", "--model-path", checkpoint, "--prompt", "a")
    assert done.code == 1 and done.err.startswith("error[P080]: no ported model `lama2`\n") and "`llama2`" in done.err
    assert "P081" in run("--prompt", "a", model_path=tmp_path / "no").err


@pytest.fixture
def project(porter_here, tmp_path, monkeypatch) -> Path:
    """A folder of the user's, with a port in it."""
    monkeypatch.chdir(tmp_path)
    assert porter_here("convert", "transformers.models.llama", "--out", "generated_models/mine").code == 0
    return tmp_path


def test_a_port_is_found_where_convert_wrote_it(porter_here, project, checkpoint, expected):
    words = ("run", "mine", "--model-path", checkpoint, "--prompt", PROMPT, "--max-new-tokens", 8)
    assert porter_here(*words).out == f"{PROMPT}{expected}\n"


def test_a_port_is_found_in_the_folder_that_is_named(porter_here, project, checkpoint, expected, monkeypatch):
    words = ("run", "mine", "--model-path", checkpoint, "--prompt", PROMPT, "--max-new-tokens", 8)
    monkeypatch.chdir("/")
    assert porter_here(*words, "--models", project / "generated_models").out == f"{PROMPT}{expected}\n"
    assert porter_here(*words, "--models", project).err == (
        f"error[P080]: no ported model `mine`\n  = looked in `{project}`\n"
        "  = help: convert a model first, or give another --models\n"
    )


@pytest.mark.parametrize("place", ["generated_models/mine", "mine", "."])
def test_a_port_is_run_from_its_folder_too(porter_here, project, checkpoint, expected, monkeypatch, place):
    monkeypatch.chdir(project if "/" in place else project / "generated_models" / ("" if place == "mine" else "mine"))
    done = porter_here("run", place, "--model-path", checkpoint, "--prompt", PROMPT, "--max-new-tokens", 8)
    assert (done.code, done.out) == (0, f"{PROMPT}{expected}\n"), done.err


def test_a_name_is_taken_where_a_folder_is(porter_here, project, monkeypatch):
    assert porter_here("verify", "mine", "--level", "contract", "--config", "llama-2-7b", "--json").code == 0
    done = porter_here("lower", "mime", "--json")
    assert json.loads(done.out)["diagnostics"][0]["code"] == "P080"


def test_a_mistyped_name_is_told_without_torch(project, environment, checkpoint):
    code = (
        "import sys, porter.cli; code = porter.cli.exit_code(sys.argv[1:]); "
        "assert not {'torch', 'transformers'} & set(sys.modules), 'imported'; sys.exit(code)"
    )
    run = ("run", "mime", "--model-path", checkpoint, "--prompt", "a")
    for words in (run, ("bench", "mime"), ("export", "mime", "--to", "."), ("verify", "mime"), ("lower", "mime")):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)
        assert done.returncode == 1 and "did you mean `mine`?" in done.stderr, done.stderr


def test_an_exported_port_is_told_with_its_files(porter_here, project, checkpoint, tmp_path):
    place = shutil.copytree(checkpoint, tmp_path / "copy")
    done = porter_here("export", "mine", "--to", place)
    assert done.code == 0 and done.out == f"wrote {place}\n  modeling_llama_npu.py\n  config.json\n"
    assert "needs porter installed" in done.err
    document = json.loads(porter_here("export", "generated_models/mine", "--to", place, "--json").out)
    assert document["ok"] and document["entry"] == "modeling_llama_npu.LlamaForCausalLM"
    assert porter_here("export", "mine", "--to", tmp_path / "no", "--json").code == 1


def test_the_port_of_a_checkpoints_own_code_runs_on_that_checkpoint(porter_here, tmp_path, checkpoint, expected):
    """transformers would ask whether to run the code that lies there."""
    place = write_checkpoint_code(tmp_path / "checkpoint")
    names = json.loads((place / "config.json").read_text())
    shutil.copytree(checkpoint, place, dirs_exist_ok=True)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, **names}))
    consent = "--trust-remote-code"
    assert porter_here("convert", place, "--out", tmp_path / "ports" / "mine", consent).code == 0
    words = ("--models", tmp_path / "ports", "--model-path", place, "--prompt", PROMPT, "--max-new-tokens", 8)
    done = porter_here("run", "mine", *words)
    assert (done.code, done.out) == (0, f"{PROMPT}{expected}\n"), done.err


@pytest.mark.parametrize("words", [("run", "llama", "--model-path", ".", "--prompt", "a"), ("bench", "llama")], ids=str)
def test_an_unknown_name_says_where_it_was_looked_for(porter_here, project, words, monkeypatch):
    done = porter_here(*words)
    assert (done.code, done.out) == (1, "")
    head, looked, help, _ = done.err.split("\n")
    assert head == "error[P080]: no ported model `llama`" and looked == f"  = looked in `{project}/generated_models`"
    assert help == "  = help: registered there: mine"
    monkeypatch.chdir("/")
    assert porter_here(*words).err.split("\n")[1:3] == [
        f"  = looked in `{ROOT}/generated_models`",
        "  = there is no registry in `/generated_models`",
    ]


def test_a_registry_that_is_not_porters_is_no_crash(porter_here, tmp_path):
    (tmp_path / "__init__.py").write_text("_MODELS = dict(made())\n")
    done = porter_here("bench", "llama2", "--models", tmp_path)
    assert done.code == 1 and "  = its registry cannot be read: " in done.err


def test_a_checkpoint_of_another_model(run, checkpoint, tmp_path):
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    done = run("--prompt", "a", model_path=tmp_path)
    assert done.code == 1 and "error[P083]" in done.err


@pytest.mark.parametrize("mode", ["eager", "dynamo"])
def test_the_run_script_of_the_port_from_any_folder(checkpoint, expected, environment, mode, tmp_path):
    script = ROOT / "generated_models" / "llama2" / "run_llama2.py"
    words = [
        "--input_max_len=16",
        "--max_new_tokens=8",
        f"--execute_mode={mode}",
        "--backend=eager",
        "--prompt",
        PROMPT,
    ]
    command = [sys.executable, script, f"--model_path={checkpoint}", *words]
    (tmp_path / "generated_models").mkdir()  # it is in its own folder of ports, whatever the current one holds
    (tmp_path / "generated_models" / "__init__.py").write_text('_MODELS = {"other": ("modeling_x", "X")}\n')
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{PROMPT}{expected}\n" in done.stderr and "prefill" in done.stderr


def test_the_run_script_says_what_is_missing(environment, tmp_path):
    script = ROOT / "generated_models" / "llama2" / "run_llama2.py"
    command = [sys.executable, script, f"--model_path={tmp_path / 'no'}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.startswith("error[P081]: no checkpoint folder")


def test_making_a_checkpoint_leaves_the_random_state_and_the_threads(tmp_path, two_threads):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_demo_checkpoint(tmp_path, TEXT, steps=1)
    assert torch.equal(torch.rand(3), expected) and torch.get_num_threads() == two_threads
