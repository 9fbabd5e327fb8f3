"""Which classes a model is made of, told by building it: what anatomy, which only reads, is compared with.

    python tests/ports/census.py

Contract: every causal language model of the installed transformers is built, tiny and on the meta device, and the
classes of its `named_modules()` are listed that a modeling file defines: its own file, or another one of the library's.
All of them must have a role or be listed as unknown; of a model of another file inside, its outermost class. Writes
`census.json` beside this file; exit 0 when no class is unseen.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from porter.anatomy import Anatomy, read_anatomy
from porter.diagnostics import Refused
from porter.matrix.library import LIBRARY, causal_modules
from porter.source import load_source
from porter.tree import parse
from porter.verify.parity import quiet
from porter.verify.tiny import tiny_config

RECORD = Path(__file__).with_name("census.json")


@dataclass(frozen=True)
class Census:
    """The classes of one model: of its own file, and the outermost ones of other modeling files."""

    causal: str
    own: tuple[str, ...]
    outer: tuple[str, ...]


def anatomy_of(module: str) -> Anatomy | Refused:
    source = load_source(module)
    assert not isinstance(source, Refused), source
    tree = parse(source.text, source.display, source.path, module.rpartition(".")[0])
    assert not isinstance(tree, Refused), tree
    return read_anatomy(tree, source.entry)


def build(module: str, causal: str) -> Any:
    """The tiny model, on the meta device. Raises what its classes raise."""
    model_class = getattr(importlib.import_module(module), causal)
    with quiet(), torch.device("meta"):
        return model_class(tiny_config(model_class.config_class))


def census_of(module: str, causal: str) -> Census:
    own: dict[str, None] = {}
    outer: dict[str, None] = {}
    inside: list[str] = []  # paths of modules of other modeling files
    for path, part in build(module, causal).named_modules():
        home = type(part).__module__
        if home == module:
            own[type(part).__name__] = None
        elif home.startswith(LIBRARY) and not any(path.startswith(f"{one}.") for one in inside):
            outer[type(part).__name__] = None
            inside.append(path)
    return Census(causal, tuple(own), tuple(outer))


def unseen(census: Census, anatomy: Anatomy) -> list[str]:
    """Classes of the model that have neither a role nor a place among the unknown."""
    seen = {*anatomy.roles, *anatomy.unknown}
    by_type = any(name.startswith("Auto") for name in anatomy.unknown)  # `AutoModel` may be any of the library's
    return [name for name in census.own if name not in seen] + [
        name for name in census.outer if name not in seen and not by_type
    ]


def main() -> int:
    modules = causal_modules()
    assert not isinstance(modules, Refused), modules
    record: dict[str, Any] = {}
    missed = 0
    for module in modules:
        anatomy = anatomy_of(module)
        if isinstance(anatomy, Refused):
            record[module] = {"not built": anatomy.diagnostics[0].message}
            continue
        try:
            census = census_of(module, anatomy.causal)
        except Exception as error:  # a configuration that is not made for sizes like these
            record[module] = {"not built": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:160]}
            continue
        found = unseen(census, anatomy)
        missed += len(found)
        record[module] = {**asdict(census), "unknown": list(anatomy.unknown), "unseen": found}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    built = sum("own" in entry for entry in record.values())
    print(f"{len(record)} files, {built} built, {missed} classes unseen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
