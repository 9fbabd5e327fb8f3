"""What stands around a port's code: imports, decorators, and what the port says of where it comes from."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from porter.convert import convert
from porter.source import Companion, load_source
from tests.engine.sources import FAMILY, accepted, convert_text, free_standing, port, port_of, text_of, varied


@pytest.mark.parametrize("model", FAMILY)
def test_relative_imports_become_absolute(model):
    levels = {n.level for n in ast.walk(ast.parse(port_of(model).code)) if isinstance(n, ast.ImportFrom)}
    assert levels == {0}


def test_a_file_of_no_package_keeps_its_relative_imports():
    text = text_of("llama").replace("from ...", "from transformers.")
    beside = Companion("configuration_llama.py", Path("configuration_llama.py"), "", "")
    code = accepted(convert(replace(free_standing(text), siblings=(beside,)), name="llama")).code
    assert "from .configuration_llama import LlamaConfig" in code


def test_imports_inside_functions_become_absolute_too():
    place = "        attn_output = self.o_proj(attn_output)\n"
    inner = (place, "        from ...utils import is_x\n\n" + place)
    assert "from transformers.utils import is_x" in port(varied(inner)).code


def test_decorators_of_the_kernel_hub_go_from_ported_sites_and_stay_elsewhere():
    assert "use_kernel" not in port_of("llama").code
    kept = accepted(convert_text(text_of("llama"), keep=("LlamaRMSNorm",), without=("rotary_half",))).code
    assert '@use_kernel_forward_from_hub("RMSNorm")\nclass LlamaRMSNorm' in kept


IMPORTS = {
    "at the end of the file": ("__all__ = [", "import math\n\n__all__ = ["),
    "of torch_npu where there is one": (
        "logger = logging",
        "if is_torch_npu_available():\n    import torch_npu\nlogger = logging",
    ),
}


@pytest.mark.parametrize("pair", IMPORTS.values(), ids=IMPORTS)
def test_what_a_port_needs_is_imported_whatever_the_source_imports(pair):
    code = port(varied(pair)).code
    assert code.index("from porter.npu import torch_npu") < code.index("class LlamaRMSNorm")


def test_a_port_of_a_file_loads_as_custom_code_and_one_of_the_library_does_not():
    said = "    source_is_custom_code = True\n"
    under = f'    made_under = "{load_source("transformers.models.llama").version}"\n'
    text = text_of("llama").replace("from ...", "from transformers.").replace("from .configuration_llama", "from x")
    code = accepted(convert(free_standing(text), name="llama")).code
    assert f"class LlamaPreTrainedModel(NpuPreTrainedModel):\n{under}{said}    weight_merges = (\n" in code
    assert said not in port_of("llama").code and "made_under" not in port_of("llama").code
    assert "PortedFrom" not in code


def test_a_port_of_an_installed_module_says_which_text_it_was_made_from():
    source = load_source("transformers.models.llama")
    text = port_of("llama").code
    assert (
        "class LlamaPreTrainedModel(NpuPreTrainedModel):\n    ported_from = PortedFrom(\n"
        f'        "transformers.models.llama.modeling_llama",\n        version="{source.version}",\n'
        f'        sha256="{hashlib.sha256(source.path.read_bytes()).hexdigest()}",\n    )\n'
    ) in text


def test_docstrings_are_made_by_the_runtimes_decorator_which_prints_nothing():
    text = port_of("llama").code
    assert "    auto_docstring,\n" in text[text.index("from porter.runtime import (") :]
    assert "auto_docstring" not in text[: text.index("from porter.runtime")]
    own = text_of("llama").replace("from ...", "from transformers.").replace("from .configuration_llama", "from x")
    theirs = "from transformers.utils import TransformersKwargs, auto_docstring,"
    assert theirs in own
    own = own.replace(theirs, "from x import auto_docstring\nfrom transformers.utils import TransformersKwargs,")
    code = accepted(convert(free_standing(own), name="llama")).code
    assert "from x import auto_docstring" in code  # somebody else's is kept
