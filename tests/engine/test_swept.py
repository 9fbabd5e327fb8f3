"""Helpers that die with the code that called them: as the last thing of a class or a file, in a row, in many forms."""

from __future__ import annotations

import ast

import pytest

from porter.convert import convert
from tests.engine.checks import undefined
from tests.engine.sources import accepted, free_standing, write_rule
from tests.engine.test_plan import MODEL

CALL = "        return torch.rsqrt(x)\n"
RULE = "def before(self, p):\n    return self._norm(p)\n\n\ndef after(self, p):\n    return fused(p)\n"
FUNCTION = "def before(self, p):\n    return normed(p)\n\n\ndef after(self, p):\n    return fused(p)\n"
NORM = "    def _norm(self, x):\n        return torch.rsqrt(x)\n"


@pytest.fixture
def code_of(tmp_path):
    """The port of a model whose norm is fused by one rule."""

    def run(model: str, rule: str = RULE) -> str:
        compile(model, "model", "exec")
        write_rule(tmp_path / "rules", rule, "fuse", 'Rule(edits=(Edit(site="*.forward", unit="function"),))')
        code = accepted(convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules")).code
        compile(code, "port", "exec")
        assert undefined(code) <= {*undefined(model), "fused"}
        return code

    return run


def norm(*helpers: str, base: str = "nn.Module", head: str = "") -> str:
    """The model with a norm that calls `self._norm`; the helpers stand behind its forward."""
    text = MODEL.replace(CALL, "        return self._norm(x)\n" + "".join(helpers))
    return text.replace("class Norm(nn.Module):", f"{head}class Norm({base}):")


def names_in(code: str, cls: str = "Norm") -> list[str]:
    (node,) = (item for item in ast.parse(code).body if getattr(item, "name", "") == cls)
    return [item.name for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]


LINE = "    def _norm(self, x): return torch.rsqrt(x)\n"
FORMS = {
    "the last of its class": (["\n", NORM], []),
    "on one line": ([LINE], []),
    "async": (["    async" + LINE[3:]], []),
    "decorated": (["    @staticmethod  # A\n    # B\n    @call(  # C\n        1)\n", NORM], []),
    "before something else": ([NORM, "\n    def other(self): pass\n"], ["other"]),
    "helpers in a row": (
        [
            NORM.replace("torch.rsqrt", "self._a"),
            "    def _a(self, x): return self._b(x)\n",
            "    def _b(self, x): pass\n",
        ],
        [],
    ),
    "one that calls itself by name": ([NORM.replace("torch.rsqrt", "self._norm")], ["_norm"]),
    "one that a method still calls": ([NORM, "\n    def other(self): return self._norm\n"], ["_norm", "other"]),
    "one that a string still names": (
        [NORM, '\n    def other(self): return getattr(self, "_norm")\n'],
        ["_norm", "other"],
    ),
    "one that an f-string still calls": (
        [NORM, "\n    def other(self): return f'{self._norm(1)}'\n"],
        ["_norm", "other"],
    ),
    "one that a lambda still calls": ([NORM, "\n    other = lambda self: self._norm(1)\n"], ["_norm"]),
    "one that a decorator still calls": (
        [NORM, "\n    @call(lambda self: self._norm)\n    def other(self): pass\n"],
        ["_norm", "other"],
    ),
    "one that is set from elsewhere": ([NORM, "\n    def other(self): self._norm = None\n"], ["_norm", "other"]),
    "one that is deleted elsewhere": ([NORM, "\n    def other(self): del self._norm\n"], ["_norm", "other"]),
    "one that a pattern still names": (
        [NORM, "\n    def other(self):\n        match self:\n            case self._norm: pass\n"],
        ["_norm", "other"],
    ),
    "the later of two": ([LINE.replace("rsqrt", "sqrt"), LINE], ["_norm"]),
}


@pytest.mark.parametrize(("helpers", "left"), FORMS.values(), ids=FORMS)
def test_a_private_method_goes_when_nothing_names_it(code_of, helpers, left):
    assert names_in(code_of(norm(*helpers))) == ["forward", *left]


def test_the_attributes_of_a_class_stay_when_its_helpers_go(code_of):
    code = code_of(norm("    y = 1; z = 2  # A\n", NORM, "    t = 3\n    # B\n"))
    assert "    y = 1; z = 2  # A\n" in code and "    t = 3\n    # B\n" in code


HELPERS = {
    "nothing else": ("class Help:\n{}", "class Help:\n    pass\n"),
    "a docstring": ('class Help:\n    """Doc."""\n\n{}', 'class Help:\n    """Doc."""\n'),
    "a comment": ("class Help:\n    # A\n{}    # B\n", "class Help:\n    pass\n    # A\n    # B\n"),
    "an indentation of two": ("class Help:\n  # A\n  def _norm(self, x): return 1\n", "class Help:\n  pass\n  # A\n"),
}


@pytest.mark.parametrize(("text", "left"), HELPERS.values(), ids=HELPERS)
def test_a_class_of_dead_helpers_is_still_a_class(code_of, text, left):
    code = code_of(norm(head=text.format(NORM) + "\n\n", base="Help, nn.Module"))
    assert left in code and "_norm" not in code


ENDS = {
    "a newline": "{}\n",
    "no newline": "{}",
    "blank lines": "{}\n\n\n",
    "a comment above": "# A\n{}\n",
    "a comment behind": "{}\n\n\n# A\n",
    "a comment behind and no newline": "{}\n# A",
}
NORMED = "def normed(x):\n    return torch.rsqrt(x)"
CALLING = MODEL.replace(CALL, "        return normed(x)\n")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_function_that_dies_at_the_end_of_the_file_leaves_a_whole_end(code_of, end):
    code = code_of(CALLING + "\n\n" + end.format(NORMED), FUNCTION)
    assert "normed" not in code and ("# A" in code) is ("# A" in end)
    assert code.endswith("# A") if end.endswith("# A") else not code.endswith("\n\n")


@pytest.mark.parametrize("end", ["{}\n", "{}", "{}\n\n# A\n", "{}\n    # A"])
def test_a_class_of_dead_helpers_at_the_end_of_the_file(code_of, end):
    code = code_of(norm(base="nn.Module, Help") + "\n\nclass Help:\n" + end.format(LINE.rstrip("\n")))
    assert "class Help:\n    pass" in code and ("# A" in code) is ("# A" in end)


def test_annotations_of_the_future_are_no_import_that_dies(code_of):
    """A helper that goes had a local of that name."""
    helper = "    def _norm(self, x, annotations=None): return torch.rsqrt(x, annotations)\n"
    assert "from __future__ import annotations\n" in code_of("from __future__ import annotations\n" + norm(helper))


@pytest.mark.parametrize("annotation", ["Cache", '"Cache"', '"Cache | None"', '"list[Cache]"'])
def test_a_name_that_an_annotation_needs_is_still_imported(code_of, annotation):
    helper = "    def _norm(self, x, cache: Cache = None): return torch.rsqrt(x)\n"
    model = norm(helper).replace("import torch\n", "import torch\nfrom lib import Cache\n", 1)
    assert "from lib import Cache\n" in code_of(f"{model}\n\ndef other(x: {annotation}): pass\n")
