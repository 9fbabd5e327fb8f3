"""Compiled steps: one graph each, whatever comes, and the tokens of the source."""

import importlib.machinery
import importlib.util
import sys
import types

import pytest
import torch

from porter.runner import CannotRun
from porter.runner.backends import choose_backend, compile_step, has_cpp_compiler
from porter.runner.graph import CompiledSteps, GraphPool, Steps
from porter.runner.lengths import WITH_LENGTHS, pass_lengths
from porter.runtime import CacheFull, StaticKVCache
from tests.error_rule import model_roundings, no_further, truth_of
from tests.runner.reference import PROMPTS, source_model, source_rows

PADDED = {"input_padding": True, "input_max_len": 40}
WAYS = {"padded": PADDED, "unpadded": {"input_max_len": 40}}


class Graphs:
    """A backend that runs a graph as it is and notes, at each run, which graph and for how many positions."""

    def __init__(self):
        self.graphs = 0
        self.runs = []

    def __call__(self, graph, _example_inputs):
        number = self.graphs
        self.graphs += 1

        def run(*inputs):
            self.runs.append(number)
            return graph.forward(*inputs)

        return run


@pytest.fixture
def compiled(runner):
    """A runner in dynamo mode, by default on a backend that counts."""

    def make(**config):
        made = runner(**{"backend": Graphs(), **config})
        made.execute_mode = "dynamo"
        return made

    return make


@pytest.mark.parametrize("way", WAYS)
def test_one_graph_for_the_prompts_and_one_for_64_steps(compiled, checkpoint, way):
    made = compiled(**WAYS[way], max_new_tokens=64, warm_up=False, eos_token_id=[])
    backend = made.settings.backend
    lengths = set()
    for prompt in ["a", *PROMPTS, "x = " * 8]:
        (answer,) = made.execute_model(prompt)
        lengths.add(len(made.tokenizer(prompt)["input_ids"]))
        assert answer.token_ids == source_rows(checkpoint, [prompt], 64, eos_token_id=[])[0]
    assert len(lengths) == 5 and 1 in lengths
    assert backend.graphs == 2
    assert backend.runs == ([0] + [1] * 63) * 5


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_answers_as_the_source_does_one_by_one(compiled, checkpoint, way):
    made = compiled(**WAYS[way])
    answers = made.execute_model(PROMPTS)
    assert [answer.token_ids for answer in answers] == source_rows(checkpoint, PROMPTS, 12)
    made.execute_model(PROMPTS[:2])
    again = made.execute_model(PROMPTS[::-1])
    assert again.rows == answers.rows[::-1]
    assert made.settings.backend.graphs == 4  # a batch of two has its own


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_tokens_under_each_backend(compiled, checkpoint, backend):
    answers = compiled(**PADDED, backend=backend).execute_model(PROMPTS)
    assert [answer.token_ids for answer in answers] == source_rows(checkpoint, PROMPTS, 12)


def test_the_cache_stays_where_it_is(compiled):
    made = compiled(**PADDED)
    made.execute_model(PROMPTS)
    cache, place = made._kept.cache, made._kept.cache.layers[0].keys.data_ptr()
    made.execute_model(PROMPTS[::-1], max_new_tokens=5)
    assert made._kept.cache is cache and cache.layers[0].keys.data_ptr() == place
    assert cache.nbytes == 2 * 2 * 3 * 52 * 2 * 16 * 4  # K and V x layers x batch x slots x kv heads x head_dim x bytes


def test_steps_read_no_length_from_the_device(compiled, monkeypatch):
    made = compiled(**PADDED)
    made.execute_model(PROMPTS)
    monkeypatch.setattr(type(made._kept.cache.cursor), "seen", None)
    made.execute_model(PROMPTS[::-1])


def test_a_step_that_does_not_fit_is_refused_before_it_runs(compiled):
    made = compiled()
    made.init_model()
    backend = Graphs()
    steps, cache = CompiledSteps(Steps(made.model), backend), StaticKVCache(made.model.config, 4)
    cache.early_initialization(1, 2, 16, torch.float32, "cpu")
    ids, mask = torch.ones(1, 3, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64)
    with torch.no_grad():
        steps.prefill(ids, mask, ids, cache)
        steps.decode(ids[:, :1], mask, ids[:, :1], cache)
        with pytest.raises(CacheFull, match="4 slots, 4 of them in use"):
            steps.decode(ids[:, :1], mask, ids[:, :1], cache)
    assert backend.runs == [0, 1]


def test_a_first_batch_is_warmed_up_once_and_warming_draws_no_numbers(compiled):
    made = compiled(do_sample=True)
    answers = []
    for _ in range(2):
        torch.manual_seed(3)
        answers.append(made.execute_model(PROMPTS[:1]).rows)
    assert answers[0] == answers[1]
    assert made.settings.backend.runs == [0, 1] + 2 * ([0] + [1] * 11)


def test_beams_are_refused_in_dynamo_mode(compiled):
    made = compiled()
    made.init_model()
    made.model.generation_config.num_beams = 2
    with pytest.raises(CannotRun, match="num_beams=2") as refused:
        made.execute_model(PROMPTS)
    assert refused.value.diagnostic.code == "P089"


def test_a_backend_is_chosen_by_what_there_is(monkeypatch, runner):
    cpu, npu = torch.device("cpu"), torch.device("npu:0") if hasattr(torch, "npu") else torch.device("privateuseone:0")
    assert choose_backend(None, cpu) == ("inductor" if has_cpp_compiler() else "eager")
    monkeypatch.setattr("porter.runner.backends.has_cpp_compiler", lambda: False)
    assert choose_backend(None, cpu) == "eager" and choose_backend("aot_eager", cpu) == "aot_eager"
    cuda, triton = torch.device("cuda"), has_cpp_compiler() and importlib.util.find_spec("triton") is not None
    assert choose_backend(None, cuda) == ("inductor" if triton else "eager")
    monkeypatch.setattr("porter.runner.backends.inductor_serves", lambda device: False)
    with pytest.raises(CannotRun, match=r"needs (triton|a C\+\+ compiler)"):
        choose_backend("inductor", cuda)
    monkeypatch.undo()
    monkeypatch.setattr("porter.runner.backends.has_cpp_compiler", lambda: False)
    backend = Graphs()
    assert choose_backend(backend, npu) is backend
    for wanted, said in [
        ("inductor", r"needs a C\+\+ compiler"),
        ("max-autotune", "does not compile for device `cpu`"),
        ("npugraphex", "did you mean `npugraph_ex`"),
    ]:
        made = runner(backend=wanted)
        made.execute_mode = "dynamo"
        with pytest.raises(CannotRun, match=said):
            made.execute_model(PROMPTS)
        assert made.tokenizer is None  # said before anything is loaded


@pytest.mark.parametrize("mode", ["max-autotune", "npugraph_ex"])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("has_op", [True, False], ids=["with lengths", "without"])
def test_what_torchair_is_asked_for(monkeypatch, tmp_path, mode, cached, has_op):
    """By a stand-in with the names of torch_npu 2.13; not run on an NPU."""
    asked = {}
    experimental = types.SimpleNamespace(frozen_parameter=False, tiling_schedule_optimize=False)
    config = types.SimpleNamespace(mode=None, experimental_config=experimental, post_grad_custom_pre_pass=None)
    config.frozen_parameter = False

    def cache_compile(step, **options):
        asked.update(options, step=step)
        return "from the disk"

    stand_in = types.SimpleNamespace(
        CompilerConfig=lambda: config,
        get_npu_backend=lambda compiler_config, **more: asked.update(more, config=compiler_config) or Graphs(),
        inference=types.SimpleNamespace(cache_compile=cache_compile),
    )
    monkeypatch.setitem(sys.modules, "npugraph_ex" if mode == "npugraph_ex" else "torchair", stand_in)
    if has_op:
        made = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(WITH_LENGTHS, None))
        monkeypatch.setitem(sys.modules, WITH_LENGTHS, made)
    assert choose_backend(None, types.SimpleNamespace(type="npu")) == "max-autotune"
    step = types.MethodType(lambda self, x: x + 1, torch.nn.Identity())
    compiled = compile_step(step, mode, dynamic=True, cache_folder=tmp_path if cached else None)
    assert asked["config"] is config and config.mode == mode
    assert list(asked["custom_decompositions"]) == [torch.ops.aten.gelu.default]
    frozen = (config.frozen_parameter, config.experimental_config.frozen_parameter)
    assert frozen == ((True, False) if mode == "npugraph_ex" else (False, True))
    told = (config.post_grad_custom_pre_pass, experimental.tiling_schedule_optimize)
    assert told == ((pass_lengths, True) if has_op and mode == "max-autotune" else (None, False))
    if cached:
        assert compiled == "from the disk" and asked["step"] is step
        assert asked["dynamic"] is True and asked["cache_dir"] == str(tmp_path)
    else:
        assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))


@pytest.mark.skipif(not has_cpp_compiler(), reason="inductor needs a C++ compiler")
def test_inductor_sees_through_the_ops_and_writes_the_cache_in_place(compiled, checkpoint):
    from torch._inductor.utils import run_and_get_code

    made = compiled(**PADDED, backend="inductor")
    answers, code = run_and_get_code(made.execute_model, PROMPTS)
    assert [answer.token_ids for answer in answers] == source_rows(checkpoint, PROMPTS, 12)
    assert len(code) == 2  # prefill, decode
    keys = made._kept.cache.layers[0].keys
    for graph in code:
        assert "torch.ops.npu" not in graph
        assert f"empty_strided_cpu({tuple(keys.shape)}" not in graph  # nothing of a cache's size: no copy of it


@pytest.mark.parametrize("way", WAYS)
def test_compiled_steps_look_up_rotary_tables_up_to_the_cache_s_last_slot(compiled, checkpoint, way):
    ops = []

    def backend(graph, _example_inputs):
        ops.append({str(node.target) for node in graph.graph.nodes if node.op != "placeholder"})
        return graph

    made = compiled(**WAYS[way], backend=backend, max_new_tokens=9)
    answers = made.execute_model(PROMPTS)
    assert [answer.token_ids for answer in answers] == source_rows(checkpoint, PROMPTS, 9)
    assert len(ops) == 2 and [op for graph in ops for op in graph if "cos" in op] == []


@pytest.mark.skipif(not has_cpp_compiler(), reason="inductor needs a C++ compiler")
def test_one_graph_serves_every_length_also_that_of_the_cache(compiled, checkpoint):
    made = compiled()
    made.init_model()
    steps, cache = CompiledSteps(Steps(made.model), "inductor", any_length=True), StaticKVCache(made.model.config, 24)
    cache.early_initialization(1, 2, 16, torch.float32, "cpu")
    mask, source = torch.ones(1, 24, dtype=torch.int64), source_model(checkpoint)
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for length in (10, 12, 24):
            ids = torch.arange(3, 3 + length)[None]
            logits = steps.prefill(ids, mask, ids - 3, cache)
            expected, exact = (model(ids).logits[:, -1] for model in (source, truth_of(source)))
            no_further(logits, expected, exact, model_roundings(source.config, length))
            cache.reset()


def test_a_graph_on_the_disk_is_of_one_port_one_configuration_and_one_shape(compiled, monkeypatch, tmp_path):
    folders = []
    monkeypatch.setattr(
        "porter.runner.graph.compile_step", lambda step, backend, **options: folders.append(options["cache_folder"])
    )
    made = compiled()
    made.init_model()
    config = made.model.config

    def folder(slots=24):
        cache = StaticKVCache(config, slots)
        pool = GraphPool(made.model)
        pool.steps_for(cache, batch=1, backend="max-autotune", width=None, cache_folder=tmp_path)
        assert folders[-1] == folders[-2] and folders[-1].parent == tmp_path
        return folders[-1]

    first = folder()
    assert folder() == first != folder(slots=32)
    config.rope_parameters = {**config.rope_parameters, "rope_theta": 5e5}
    other = folder()
    assert other != first
    monkeypatch.setattr("porter.__version__", "another")
    assert folder() not in (first, other)
