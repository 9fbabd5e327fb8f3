"""A global name is what its import makes of it: one class under many names, many classes under one name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.source import Companion
from tests.engine.checks import assert_whole
from tests.engine.sources import accepted, convert_text, free_standing, port, rules_of, text_of, varied

BOTH = {"merge_qkv", "swiglu"}
TORCH, NN = "import torch\n", "from torch import nn\n"
ACTIVATIONS = "from ...activations import ACT2FN\n"
LLAMA = text_of("llama")


def spelled(imports: str, prefix: str = "nn.", torch: str = TORCH) -> str:
    """Llama with `prefix` for every `nn.`, and these imports."""
    assert TORCH + NN in LLAMA
    return re.sub(r"(?<![\w.])nn\.", prefix, LLAMA.replace(TORCH + NN, torch + imports))


def taken(text: str) -> set[str]:
    """Which of the two rules take the text; whatever they do, the port is whole."""
    ported = port(text)
    assert_whole(text, ported)
    return rules_of(ported) & BOTH


LINEAR = LLAMA.replace("nn.Linear", "Linear")
CLASSES = "Linear, Module, ModuleList, Parameter, Embedding, Buffer, functional"
SAME = {
    "nn.Linear": spelled(NN),
    "torch.nn.Linear": spelled("", "torch.nn."),
    "torch.nn.Linear by `import torch.nn`": spelled("import torch.nn\n", "torch.nn.", torch=""),
    "torch.nn.Linear, imported twice": spelled("import torch.nn\n", "torch.nn."),
    "nn by `import torch.nn as nn`": spelled("import torch.nn as nn\n"),
    "tnn by `import torch.nn as tnn`": spelled("import torch.nn as tnn\n", "tnn."),
    "N by `from torch import nn as N`": spelled("from torch import nn as N\n", "N."),
    "Linear by `from torch.nn import Linear`": LINEAR.replace(NN, NN + "from torch.nn import Linear\n"),
    "every class by its own name": spelled(f"from torch.nn import (\n    {CLASSES},\n)\n", ""),
    "blanks in the name": spelled(NN, "nn  .  "),
    "a name that is imported again": spelled(NN + NN),
    "a name that another package had before": spelled("from mylib import nn\n" + NN),
    "a class attribute called so": LLAMA.replace(
        "class LlamaMLP(nn.Module):\n", "class LlamaMLP(nn.Module):\n    nn = 1\n"
    ),
}
OTHER = {
    "nn of another package": spelled("from mylib import nn\n"),
    "nn of a package with an nn": spelled("import bitsandbytes.nn as nn\n"),
    "nn beside the file": spelled("from . import nn\n"),
    "nn of a package called torch there": spelled("", "torch.nn.", torch="import mylib as torch\n"),
    "a name that another package has afterwards": spelled(NN + "from mylib import nn\n"),
    "Linear of another package": LINEAR.replace(NN, NN + "from mylib import Linear\n"),
    "Linear of the library": LINEAR.replace(NN, NN + "from ...layers import Linear\n"),
    "Linear of the file": LINEAR.replace("logger =", "class Linear(nn.Linear):\n    pass\n\n\nlogger ="),
    "Linear of nobody": LINEAR.replace(NN, NN + "from mylib import *\n"),
    "N reassigned": spelled(f"{NN}from torch import nn as N\nN = choose(N)\n", "N."),
    "N reassigned in a branch": spelled(f"{NN}from torch import nn as N\nif torch:\n    N = choose(N)\n", "N."),
    "N reassigned by a loop": spelled(f"{NN}from torch import nn as N\nfor N in torch:\n    pass\n", "N."),
    "N, a class too": spelled(f"{NN}from torch import nn as N\nclass N: pass\n", "N."),
    "N from either of two packages": spelled(
        f"{NN}try:\n    from mylib import nn as N\nexcept ImportError:\n    from torch import nn as N\n", "N."
    ),
    "N of another package under `with`": spelled(
        f"{NN}from torch import nn as N\nwith torch:\n    from mylib import nn as N\n", "N."
    ),
    "N set from a function": spelled(
        f"{NN}from torch import nn as N\n\n\ndef choose():\n    global N\n    N = 1\n\n\n", "N."
    ),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_one_class_under_another_name_is_taken(text):
    assert taken(text) == BOTH


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_another_class_is_not(text):
    outcome = convert_text(text)
    assert isinstance(outcome, Refused) or taken(text) == set()


def test_a_name_that_is_reassigned_may_be_anything():
    """`nn.Linear` is what the rule says by its letters, but nobody knows what `nn` is."""
    assert taken(spelled(NN + "nn = choose(nn)\n")) == set()


# -- inside a function

INIT = "        super().__init__()\n        self.config = config\n        self.hidden_size = config.hidden_size\n"
HEAD = "    def __init__(self, config):\n"
LOCAL = {
    "a parameter": ("config):", "config, nn=None):"),
    "a parameter by position": ("config):", "config, nn=None, /):"),
    "a parameter by keyword": ("config):", "config, *, nn=None):"),
    "all other parameters": ("config):", "config, *nn):"),
    "all other keywords": ("config):", "config, **nn):"),
    **{
        name: (INIT, f"        {statement}\n{INIT}")
        for name, statement in {
            "a local": "nn = config.nn",
            "an annotated local": "nn: object = config.nn",
            "one of several locals": "(nn, *rest) = config",
            "a loop variable": "for nn in config: pass",
            "the value of a context": "with config as nn: pass",
            "an exception": "try: pass\n        except ValueError as nn: raise",
            "a walrus": "print(nn := config.nn)",
            "a captured pattern": "match config:\n            case [nn, *_]: pass",
            "the rest of a pattern": "match config:\n            case {**nn}: pass",
            "an import": "from mylib import nn",
            "an import of a module": "import mylib.nn as nn",
            "a class": "class nn: Linear = None",
            "a function": "def nn(): pass",
        }.items()
    },
}


@pytest.mark.parametrize("pair", LOCAL.values(), ids=LOCAL)
def test_a_local_is_not_the_module_of_its_name(pair):
    old, new = (part if part == INIT or INIT in part else f"    def __init__(self, {part}\n" for part in pair)
    own = (HEAD + INIT).replace(old, new)
    assert own != HEAD + INIT
    assert taken(varied((HEAD + INIT, own))) == {"merge_qkv"}


def test_a_local_of_another_function_is_nothing_to_this_one():
    assert taken(varied(("def repeat_kv", "def other(nn, torch):\n    return nn, torch\n\n\ndef repeat_kv"))) == BOTH


# -- names that the new code says

TNN = "import torch.nn as tnn\n"
HIDING = {
    "a module of another package": spelled(f"{TNN}from mylib import nn\n", "tnn."),
    "a value of the file": spelled(f"{TNN}nn = 3\n", "tnn."),
    "a class of the file": spelled(f"{TNN}\n\nclass nn:\n    pass\n\n\n", "tnn."),
    "a parameter": spelled(TNN, "tnn.").replace(HEAD + INIT, HEAD.replace("config)", "config, nn=None)") + INIT),
    "a local": spelled(TNN, "tnn.").replace(HEAD + INIT, f"{HEAD}        nn = 1\n{INIT}"),
}


@pytest.mark.parametrize("text", HIDING.values(), ids=HIDING)
def test_new_code_does_not_say_a_name_that_is_something_else_here(text):
    code = port(text).code
    assert "self.gate_up = nn.Linear(" not in code


# -- relative imports


def activations(statement: str, name: str = "A") -> str:
    return varied((ACTIVATIONS, statement + "\n"), ("ACT2FN[", f"{name}["))


RELATIVE = {
    "by the dots": (activations("from ...activations import ACT2FN as A"), True),
    "by the full name": (activations("from transformers.activations import ACT2FN as A"), True),
    "by its module": (activations("from ... import activations", "activations.ACT2FN"), True),
    "by a dot fewer": (activations("from ..activations import ACT2FN as A"), False),
    "from another package": (activations("from mylib.activations import ACT2FN as A"), False),
}


@pytest.mark.parametrize(("text", "is_same"), RELATIVE.values(), ids=RELATIVE)
def test_dots_lead_through_the_package_of_the_file(text, is_same):
    assert ("swiglu" in taken(text)) is is_same


def test_dots_of_a_file_without_a_package_lead_nowhere():
    beside = tuple(Companion(f"{n}.py", Path(f"{n}.py"), "", "") for n in ("activations", "configuration_llama"))
    text = activations("from .activations import ACT2FN as A").replace("from ...", "from transformers.")
    assert "swiglu" not in rules_of(accepted(convert(replace(free_standing(text), siblings=beside), name="llama")))


PLACES = """try:
    from .a1 import b
except ImportError:
    from ..a2 import b
else:
    from ...a3 import b
finally:
    from . import a4
match torch:
    case 1: from .a5 import (b,  # why
        c)
with torch: from .a6.c import *
while torch: from .a7 import b as c
for b in torch: from .\\
  a8 import b; from . a9 import b


class Odd:
    from .b1 import b
    async def method(self): from .b2 import b
"""
HERE, ABOVE = "transformers.models.llama", "transformers.models"
MADE = [
    *(
        f"from {HERE}.a1 import b",
        f"from {ABOVE}.a2 import b",
        "from transformers.a3 import b",
        f"from {HERE} import a4",
    ),
    *(f"from {HERE}.a5 import (b,  # why", f"from {HERE}.a6.c import *", f"from {HERE}.a7 import b as c"),
    *(f"from {HERE}.a8 import b; from {HERE}.a9 import b", f"from {HERE}.b1 import b", f"from {HERE}.b2 import b"),
]


def test_a_relative_import_becomes_absolute_wherever_it_stands():
    code = port(varied(("logger = logging", f"{PLACES}\n\nlogger = logging"))).code
    assert [line for line in MADE if line not in code] == []


@pytest.mark.parametrize("dots", [4, 5, 6, 9])
def test_more_dots_than_the_package_has_lead_to_no_other_module(dots):
    text = varied(
        (ACTIVATIONS, f"{ACTIVATIONS}try:\n    from {'.' * dots} import far\nexcept ImportError:\n    far = 0\n")
    )
    code = port(text).code
    assert not re.search(r"^ *(from transformers\b.*)?import far$", code, re.MULTILINE)
