"""The models of the installed transformers: its modeling files with a causal language model, by short names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from porter.anatomy.mapping import causal_names
from porter.diagnostics import Diagnostic, Refused, nearest
from porter.source.installed import locate_module

LIBRARY = "transformers.models"


def causal_modules() -> tuple[str, ...] | Refused:
    """Names of the library's modules that define a `*ForCausalLM` class, or one that is mapped to such, in order."""
    located = locate_module(LIBRARY)
    if isinstance(located, Refused):
        return located
    files = sorted(located[0].glob("*/modeling_*.py"))
    mapped = causal_names()
    return tuple(f"{LIBRARY}.{path.parent.name}.{path.stem}" for path in files if _defines_causal_class(path, mapped))


def model_of(module: str) -> str:
    """The short name of a modeling file: `llama` of `transformers.models.llama.modeling_llama`."""
    return module.rpartition(".")[2].removeprefix("modeling_")


def chosen(names: Iterable[str]) -> tuple[str, ...] | Refused:
    """The modules of models by their short names, in the library's order; of all without a name. P151 for others."""
    modules = causal_modules()
    wanted = set(names)
    if isinstance(modules, Refused) or not wanted:
        return modules
    known = {model_of(module): module for module in modules}
    unknown = sorted(wanted - known.keys())
    if unknown:
        return Refused(tuple(_unknown(name, known) for name in unknown))
    return tuple(module for name, module in known.items() if name in wanted)


def _unknown(name: str, known: Iterable[str]) -> Diagnostic:
    close = " or ".join(f"`{other}`" for other in nearest(name, known))
    message = f"the installed transformers has no causal language model `{name}`"
    help = f"did you mean {close}?" if close else "a model is called as its file: `llama` of `modeling_llama.py`"
    return Diagnostic("P151", message, help=help)


def _defines_causal_class(path: Path, mapped: frozenset[str]) -> bool:
    """A cheap look at the lines; whether it is a model is for the anatomy to say."""
    lines = path.read_text(encoding="utf-8").split("\n")
    heads = (line.removeprefix("class ").split("(")[0].rstrip(":") for line in lines if line.startswith("class "))
    return any(head.endswith("ForCausalLM") or head in mapped for head in heads)
