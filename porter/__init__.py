'''porter: from a Hugging Face `modeling_*.py` to a reviewed, proved Ascend NPU model file.

The stages, called from Python. What cannot go on returns `Refused`, whose diagnostics say what is wrong, where, and
what to do; exceptions are bugs. Converting imports neither torch nor transformers, and runs nothing of a source.

>>> from pathlib import Path
>>> from porter.diagnostics import Refused
>>> from porter.source import load_source

`load_source` finds a module, a file, or a checkpoint's folder, and reads it:

>>> source = load_source("transformers.models.llama")
>>> source.module
'transformers.models.llama.modeling_llama'
>>> load_source("transformers.models.lama").diagnostics[0].help
'did you mean `transformers.models.llama` or `transformers.models.mllama` or `transformers.models.llama4`?'

`inspect` says what every site is and which rule takes it, `convert` makes the port, in memory:

>>> from porter.convert import convert, inspect
>>> seen = inspect(source)
>>> next(site for site in seen.sites if site.kind == "mlp").rules
('swiglu',)
>>> ported = convert(source, name="mine", keep=("LlamaMLP.forward",))
>>> isinstance(ported, Refused), "torch_npu.npu_add_rms_norm(" in ported.code, "npu_swiglu" in ported.code
(False, True, False)

`emit` writes it as a folder, and `check` compares a folder with it:

>>> from porter.emit import check, emit
>>> written = emit(ported, Path("generated_models/mine"))
>>> written.files
('__init__.py', 'modeling_llama.py', 'port.diff', 'port.json', 'run_mine.py')
>>> check(ported, Path("generated_models/mine"))
[]

`load_rules` reads a folder of rules, for `convert(..., rules=...)`; `prove` draws inputs for them:

>>> from porter.rulebook import load_rules
>>> from porter.shipped import shipped
>>> rules = load_rules(shipped("rules"), proving=True)
>>> from porter.verify.prove import prove
>>> [proof.status for proof in prove(("softplus",), rules=rules)]
['passed']

`verify` compares a port with its source; `capture` and `contract` of `porter.verify`, and `lower` of
`porter.lowering.lower`, take a port's folder alike:

>>> from porter.verify.parity import verify
>>> checks = verify(Path("generated_models/mine"), quick=True)
>>> [check.name for check in checks if check.failed]
[]

`load_model_class` gives the class of a port, whose `from_pretrained` takes the source's checkpoints; `LlmModelRunner`
of `porter.runner` runs it, and `porter.register` puts it into transformers' auto classes:

>>> from porter.runtime import load_model_class
>>> load_model_class("mine", Path("generated_models")).__name__
'LlamaForCausalLM'
'''

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`porter.register`, imported when it is asked for: it needs transformers, and porting does not."""
    if name == "register":
        import importlib

        return importlib.import_module("porter.runner.auto_classes").register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
