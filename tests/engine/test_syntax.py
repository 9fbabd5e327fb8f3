"""Odd but legal layout around what the rules take in Llama: they apply, and the port is whole, with every comment."""

from __future__ import annotations

import ast
import sys

import pytest

from porter.diagnostics import Refused
from tests.engine.checks import assert_whole
from tests.engine.sources import Pair, accepted, convert_text, port, rules_of, text_of, varied

LLAMA = text_of("llama")
RULES = rules_of(port(LLAMA))
FORWARD = """    def forward(self, x):
        down_proj = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return down_proj
"""
GATED = "self.act_fn(self.gate_proj(x)) * self.up_proj(x)"
GATE, UP = (
    f"self.{n}_proj = nn.Linear(self.hidden_size, self.intermediate_size, bias=config.mlp_bias)" for n in ("gate", "up")
)
DOWN = "self.down_proj = nn.Linear(self.intermediate_size, self.hidden_size, bias=config.mlp_bias)"
ACT = "self.act_fn = ACT2FN[config.hidden_act]"
NORM = "    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:\n"
SIN = "sin = emb.sin() * self.attention_scaling"
HUB = '@use_kernel_forward_from_hub("RMSNorm")\n'
IMPORT = "from ...activations import ACT2FN\n"
START = LLAMA.index("class LlamaPreTrainedModel(")
BASE = LLAMA[START : LLAMA.index("@auto_docstring", START)]


def of_mlp(*lines: str, head: str = "    def forward(self, x):") -> Pair:
    return FORWARD, "\n".join([head, *(f"        {line}" for line in lines)]) + "\n"


def of_init(*lines: str) -> Pair:
    old, new = ("".join(f"        {line}\n" for line in every) for every in ((GATE, UP, DOWN, ACT), lines))
    return old, new


EXPRESSIONS = {
    "one line": of_mlp(head=f"    def forward(self, x): return self.down_proj({GATED})  # A"),
    "several statements on one line": of_mlp(head=f"    def forward(self, x): y = {GATED}; return y  # A"),
    "a suite on one line": of_mlp(f"if x: y = {GATED}; z = 1  # A", "else: y = x  # B", "return y"),
    "odd parameters": of_mlp(f"return {GATED}", head="    def forward(self, x, /, *y, z=None, **t):"),
    "async": of_mlp(f"return await self.down_proj({GATED})", head="    async def forward(self, x):"),
    "a walrus": of_mlp(f"return self.down_proj(y := {GATED})"),
    "a walrus in a test": of_mlp(f"if (y := {GATED}) is not None: return y", "return x"),
    "an f-string with `=`": of_mlp(f'print(f"{{{GATED}=}}")', "return x"),
    "the format of an f-string": of_mlp(f'print(f"{{x:{{{GATED}}}}}")', "return x"),
    "a lambda": of_mlp(f"return (lambda x: {GATED})(x)"),
    "a nested function": of_mlp(f"def inner(x): return {GATED}", "return inner(x)"),
    "a nested class": of_mlp(f"class A: y = {GATED}", "return A.y"),
    "a decorator": of_mlp(f"@call({GATED})", "def inner(): pass", "return inner"),
    "a default": of_mlp(f"def inner(y={GATED}): return y", "return inner()"),
    "a starred argument": of_mlp(f"return call(*x, *{GATED}, **self.up)"),
    "a starred element": of_mlp(f"return [*{GATED}, *x]"),
    "an attribute of it": of_mlp(f"return ({GATED}).sum()"),
    "an augmented assignment": of_mlp(f"x += {GATED}", "return x"),
    "a yield": of_mlp(f"y = yield {GATED}", "yield from y"),
    "a with": of_mlp(f"with ({GATED} as y, x as z): pass", "return y"),
    "a global that is deleted": of_mlp("global G", f"G = {GATED}", "del G", "return x"),
    "a match": of_mlp(f"match {GATED}, x:", "    case [1, *y] | (2, y) if y: pass  # A", "    case _ as y: pass  # B"),
    "words without blanks": of_mlp(f"return(x)if(not(x)in({GATED}))else(x)"),
    "backslashes": of_mlp("return \\", "  self.down_proj(" + GATED.replace(" * ", " \\\n * \\\n  ") + ")"),
    "tabs between words": of_mlp(f"return\tself.down_proj(\t{GATED}\t)"),
    "trailing commas": of_mlp(f"return call({GATED.replace('(x)', '(x,)')},)", head="    def forward(self, x,):"),
    "a name that is no ASCII": (FORWARD, FORWARD.replace("(x)", "(µ)").replace("x):", "µ):")),
    "comments everywhere": of_mlp(
        *("return self.down_proj(  # A", "    # B", "    self.act_fn(  # C", "        self.gate_proj(x)  # D"),
        *("    )  # E", "    # F", "    * self.up_proj(x)  # G", "    # H", ")  # I", "# J\n    # K"),
        head="    # L\n    def forward(  # M\n        # N\n        self,  # O\n        x,  # P\n    ):  # Q",
    ),
}
STATEMENTS = {
    "all on one line": of_init(f"{GATE}; {UP}; {DOWN}; {ACT}"),
    "two and two": of_init("# A", f"{GATE}; {UP}  # B", "# C", f"{DOWN}; {ACT}", "# D"),
    "others between": of_init(f"a = 1; {GATE}  # A", "# B", f"{UP}; {DOWN}  # C", "# D", f"{ACT}; b = 2  # E"),
    "suites on one line": of_init(f"if config: {GATE}; {UP}; {DOWN}; {ACT}  # A", "# B"),
    "a block": of_init("if 1:", "    # A", *(f"    {s}" for s in (GATE, UP, DOWN, ACT)), "    # B", "else: pass  # C"),
    "comments above and behind": of_init("# A", f"{GATE}  # B", "# C", f"{UP}  # D", "# E", f"{DOWN}  # F", "# G", ACT),
    "a comment behind the last": of_init(GATE, UP, DOWN, f"{ACT}  # A", "# B"),
    "a comment behind two": of_init(GATE, UP, f"{DOWN}; {ACT}  # A"),
    "comments inside": of_init(
        GATE.replace("(", "(  # A\n# B\n "), UP, DOWN, ACT.replace("[", "[  # C\n").replace("]", "\n]")
    ),
    "the activation's own name": of_init(GATE, UP, DOWN, 'self.act_fn = ACT2FN["silu"]'),
    "an activation on two lines": of_init(GATE, UP, DOWN, "self.act_fn = ACT2FN[(config\n  .hidden_act)]"),
}
AROUND = {
    "comments between decorators": (
        HUB,
        f"# A\n@torch.no_grad()  # B\n# C\n{HUB[:-1]}  # D\n# E\n@torch.no_grad()  # F\n# G\n",
    ),
    "comments inside a decorator": (HUB, HUB.replace("(", "(  # A\n    # B\n    ").replace(")", ",  # C\n)  # D")),
    "parameters with comments": (
        NORM,
        "    def forward(  # A\n        self,  # B\n        # C\n        hidden_states: torch.Tensor,  # D\n"
        "        # E\n    ) -> torch.Tensor:  # F\n",
    ),
    "a parameter by position": (NORM, NORM.replace(") ->", ", /) ->")),
    "more parameters": (NORM, NORM.replace(") ->", ", *args, eps=None, **kwargs) ->")),
    "an annotation with a comment": (NORM, NORM.replace("-> torch.Tensor", "-> (\n        torch.Tensor  # A\n    )")),
    "an import with comments": (
        IMPORT,
        IMPORT.replace("ACT2FN\n", "(  # A\n    # B\n    ACT2FN,  # C\n    # D\n)  # E\n"),
    ),
    "an import between semicolons": (IMPORT, f"X = 1; {IMPORT[:-1]}; Y = 2  # A\n"),
    "an import before a semicolon": (IMPORT, f"{IMPORT[:-1]};  # A\n"),
    "an import that may fail": (IMPORT, f"try:  # A\n    {IMPORT[:-1]}  # B\nexcept ImportError: raise  # C\n"),
    "bases with comments": (
        "(PreTrainedModel):",
        "(  # A\n    PreTrainedModel,  # B\n    metaclass=type,  # C\n):  # D",
    ),
    "a base in parentheses": ("(PreTrainedModel):", "((  # A\n    PreTrainedModel\n)):"),
    "somebody else's class": ("LlamaMLP(nn.Module):", "LlamaMLP(lib.LlamaMLP, nn.Module):"),
    "an imported class": ("class LlamaMLP(", "from lib import Base\n\n\nclass LlamaMLP(Base, "),
    "bases in a circle": ("class LlamaMLP(", "class A(B): pass\nclass B(A, LlamaMLP): pass\nclass LlamaMLP(A, "),
    "a base of itself": ("class LlamaMLP(", "class A(A): pass\nclass LlamaMLP(A, "),
    "a comment behind a block": (FORWARD, f"{FORWARD}        # A\n    # B\n"),
    "a comment behind a line that changes": (SIN, f"{SIN}  # A"),
    "a comment behind a statement that goes": (
        "eager_attention_forward\n        )",
        "eager_attention_forward\n        )  # A",
    ),
    "annotations of the future": ("from collections.abc", "from __future__ import annotations\n\nfrom collections.abc"),
    "a loop with comments": (
        "                **kwargs,\n            )\n\n        hidden_states = self.norm",
        "                **kwargs,  # A\n                # B\n            )  # C\n            # D\n\n"
        "        hidden_states = self.norm",
    ),
}
NEW = {
    (3, 11): {
        "a group of exceptions": of_mlp("try:", f"    y = {GATED}", "except* E: raise  # A", "finally: pass  # B")
    },
    (3, 12): {
        "a parameter for types": of_mlp(f"return {GATED}", head="    def forward[T](self, x: T) -> T:  # A"),
        "a class with types": (
            "class LlamaMLP(nn.Module):",
            "type Any = int  # A\n\n\nclass LlamaMLP[T: Any](nn.Module):",
        ),
    },
}
for version, table in NEW.items():
    AROUND |= table if sys.version_info >= version else {}
CASES = [pytest.param(pair, id=name) for table in (EXPRESSIONS, STATEMENTS, AROUND) for name, pair in table.items()]


@pytest.mark.parametrize("pair", CASES)
def test_every_rule_applies_and_nothing_is_lost(pair):
    text = varied(pair)
    ported = port(text)
    assert_whole(text, ported)
    assert rules_of(ported) == RULES


WHOLE = {
    "an indentation of two": LLAMA.replace("    ", "  "),
    "blanks in empty lines": LLAMA.replace("\n\n", "\n        \n"),
    "blanks behind every line": LLAMA.replace("\n", "  \n"),
    "no empty lines": "\n".join(line for line in LLAMA.split("\n") if line) + "\n",
    "no newline at the end": LLAMA.rstrip("\n"),
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_a_layout_of_the_whole_file_is_no_matter(text):
    ported = port(text)
    assert_whole(text, ported)
    assert rules_of(ported) == RULES


# -- the base class of the file's models

BODIES = {
    "a docstring and nothing else": ('    """Doc."""\n', ("Doc.", [])),
    "a docstring and a statement": ('    """Doc."""\n    a = 1\n', ("Doc.", ["a"])),
    "a docstring before a semicolon": ('    """Doc."""; a = 1\n', ("Doc.", ["a"])),
    "one statement": ("    a = 1\n", (None, ["a"])),
    "a suite on one line": (" a = 1; b = 2  # A\n", (None, ["a", "b"])),
    "a docstring on its line": (' """Doc."""  # A\n', ("Doc.", [])),
    "`pass` on its line": (" pass  # A\n", (None, [])),
    "comments": ("    # A\n\n    # B\n    a = 1  # C\n    # D\n", (None, ["a"])),
}


ADDED = ("ported_from", "weight_merges", "unheeded")


@pytest.mark.parametrize(("body", "said"), BODIES.values(), ids=BODIES)
def test_the_base_class_keeps_what_it_says(body, said):
    between = "" if body.startswith(" a") or body[1] in '"p' else "\n"
    text = varied((BASE, f"class LlamaPreTrainedModel(PreTrainedModel):{between}{body}\n\n"))
    ported = port(text)
    assert_whole(text, ported)
    (node,) = (n for n in ast.parse(ported.code).body if getattr(n, "name", "") == "LlamaPreTrainedModel")
    names = [target.id for item in node.body if isinstance(item, ast.Assign) for target in item.targets]
    assert (ast.get_docstring(node), [name for name in names if name not in ADDED]) == said
    assert set(ADDED) <= set(names)


def test_a_class_of_the_file_is_not_the_librarys_base():
    own = "class PreTrainedModel(PreTrainedModel):\n    a = 1\n\n\n@auto_docstring\nclass LlamaPreTrainedModel("
    ported = port(varied(("class LlamaPreTrainedModel(", own)))
    assert "class LlamaPreTrainedModel(PreTrainedModel):" in ported.code


UNCOMPILABLE = {
    "a parameter twice": "def f(x, x):\n    pass",
    "a keyword parameter twice": "def f(x, *, x=1):\n    pass",
    "return outside a function": "return 1",
    "yield outside a function": "yield 1",
    "await outside a coroutine": "def f():\n    await g()",
    "break outside a loop": "break",
    "a global that is a parameter": "def f(x):\n    global x",
    "a nonlocal of nothing": "def f():\n    nonlocal nothing_of_that_name",
    "two stars": "*a, *b = c",
    "a future that never comes": "from __future__ import nothing_of_that_name",
}


@pytest.mark.parametrize("code", UNCOMPILABLE.values(), ids=UNCOMPILABLE)
def test_what_only_compiling_finds_is_refused_at_its_place(code):
    text = f"{text_of('llama')}\n\n{code}\n"
    refused = convert_text(text)
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    assert diagnostic.code == "P011" and diagnostic.span is not None and diagnostic.help
    assert text.count("\n") - code.count("\n") <= diagnostic.span.line <= text.count("\n")


def test_what_is_odd_and_python_all_the_same_is_no_noise(recwarn):
    accepted(convert_text(f"{text_of('llama')}\n\nif 1 is 1:\n    x = 5()\n"))
    assert not recwarn.list
