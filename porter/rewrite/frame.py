"""What surrounds the rewritten model code: its base class, the attributes of that, decorators that go.

None of this is model code; it makes the file stand on its own outside the source library.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import libcst as cst

from porter.anatomy.data import is_pretrained
from porter.anatomy.origins import LIBRARY
from porter.match.decorators import DISPATCHING_DECORATORS
from porter.match.soundness.signature import added_parameters
from porter.plan import Plan
from porter.release.words import HUB_DECORATORS
from porter.rewrite.edits import Edits
from porter.rewrite.layout import as_lines, comment_lines, leading, with_leading
from porter.rewrite.needed import Needed
from porter.rewrite.ported import BASE_CLASS as OF_BASE_CLASS
from porter.rewrite.ported import DECORATOR
from porter.source import Source
from porter.tree import Function, Tree
from porter.tree.functions import is_docstring, statements
from porter.tree.names import decorator_name, dotted

RUNTIME = "porter.runtime"
BASE_CLASS = "PortedPreTrainedModel"
BASE_CLASS_WITH_CACHE = "NpuPreTrainedModel"
STATIC_CACHE = "prepare_kv_cache"  # of the runtime: who calls it keeps its keys and values there
DOCUMENTING = "auto_docstring"


def collect_frame(plan: Plan, source: Source, edits: Edits, needed: dict[str, Needed]) -> None:
    """Add the edits that follow from any rule; what they need goes into `needed`."""
    _collect_decorators(plan, edits)
    base_class = BASE_CLASS_WITH_CACHE if STATIC_CACHE in needed else BASE_CLASS
    needed[base_class] = Needed(RUNTIME, base_class)
    attributes = _attributes(plan, source)
    for name in ("PortedFrom", "RowMerge", "WeightSplit"):
        if any(f"{name}(" in line for line in attributes):
            needed[name] = Needed(RUNTIME, name)
    for name in plan.anatomy.pretrained():
        _collect_class(name, base_class, attributes, plan, edits)


def _collect_class(name: str, base_class: str, attributes: list[str], plan: Plan, edits: Edits) -> None:
    tree = plan.tree
    node = tree.classes[name]
    for argument in node.bases:
        if is_pretrained(dotted(argument.value) or ""):
            old = argument.value
            edits.expressions[old] = partial(cst.Name, base_class, lpar=old.lpar, rpar=old.rpar)
            edits.record_part(OF_BASE_CLASS, name, tree.line(argument.value), tree.places.last_line(argument.value))
    if attributes:
        text = "\n".join(attributes) + "\n"
        edits.transform(node, lambda new: _with_attributes(new, text))
        line = tree.line(_first_statement(node))
        edits.record_part(OF_BASE_CLASS, name, line, line - 1)


def _attributes(plan: Plan, source: Source) -> list[str]:
    """Lines of the class that all models of the file derive from."""
    lines = []
    if source.module is not None:
        version = json.dumps(source.version) if source.version else "None"
        lines += [
            "ported_from = PortedFrom(",
            f'    "{source.module}",',
            f"    version={version},",
            f'    sha256="{source.sha256}",',
            ")",
        ]
    if source.package != LIBRARY and source.made_under is not None:
        lines.append(f'made_under = "{source.made_under}"')
    package = plan.tree.package
    if package is None or package.split(".")[0] != LIBRARY:
        lines.append("source_is_custom_code = True")
    merges = dict.fromkeys(merge for application in plan.applications for merge in application.merges)
    if merges:
        lines.append("weight_merges = (")
        for merged, parts, sizes in merges:
            listed = ", ".join(f'"{part}"' for part in parts)
            tail = f', sizes="{sizes}"' if sizes else ""
            lines.append(f'    RowMerge("{merged}", ({listed}){tail}),')
        lines.append(")")
    if plan.unheeded:
        lines.append("unheeded = {")
        for owner, names in plan.unheeded.items():
            listed = " ".join(f'"{name}",' for name in names)
            lines.append(f'    "{owner}": ({listed}),')
        lines.append("}")
    splits = plan.splits
    if splits:
        lines.append("weight_splits = (")
        for owner, attribute, (how, dimension) in splits:
            lines.append(f'    WeightSplit("{owner}", "{attribute}", "{how}", {dimension}),')
        lines.append(")")
    if plan.room:
        lines.append(f'token_room = "{plan.room}"')
    return lines


def _with_attributes(node: cst.ClassDef, text: str) -> cst.ClassDef:
    """The class with the attributes behind its docstring; comments stay with the statement they stand above."""
    new: list[Any] = list(cst.parse_module(text).body)
    block = _apart(node.body)
    at = 1 if _is_docstring_line(block.body[0]) else 0
    if at == len(block.body):
        return node.with_changes(body=block.with_changes(body=[*block.body, *new]))
    first: Any = block.body[at]
    lines = list(leading(first))
    blanks = next((number for number, line in enumerate(lines) if line.comment is not None), len(lines))
    new[0] = with_leading(new[0], lines[:blanks])
    body = [*block.body[:at], *new, with_leading(first, lines[blanks:]), *block.body[at + 1 :]]
    return node.with_changes(body=block.with_changes(body=body))


def _apart(suite: cst.BaseSuite) -> cst.IndentedBlock:
    """A block with its docstring on a line of its own."""
    if isinstance(suite, cst.SimpleStatementSuite):
        return cst.IndentedBlock([as_lines(s) for s in suite.body], header=suite.trailing_whitespace)
    assert isinstance(suite, cst.IndentedBlock)
    first = suite.body[0]
    if not isinstance(first, cst.SimpleStatementLine) or len(first.body) == 1 or not is_docstring(first.body[0]):
        return suite
    rest = first.with_changes(leading_lines=(), body=first.body[1:])
    return suite.with_changes(body=[as_lines(first.body[0], first.leading_lines), rest, *suite.body[1:]])


def _is_docstring_line(line: object) -> bool:
    return isinstance(line, cst.SimpleStatementLine) and is_docstring(line.body[0])


def _first_statement(node: cst.ClassDef) -> Any:
    body = statements(node.body)
    return body[1] if len(body) > 1 and is_docstring(body[0]) else body[0]


# -- decorators


def replaced_imports(tree: Tree) -> dict[str, Needed]:
    """What a port takes from porter's runtime although the library has it: `auto_docstring`, which prints an error for
    every class and function of a file that lies outside the library, in a folder called `models`.
    """
    item = tree.imports.get(DOCUMENTING)
    if item is None or DOCUMENTING not in tree.imported_always or item.module.split(".")[0] != LIBRARY:
        return {}
    return {DOCUMENTING: Needed(RUNTIME, DOCUMENTING)}


def _collect_decorators(plan: Plan, edits: Edits) -> None:
    """Kernel-hub decorators go from ported sites, those that send calls past a class's forward with that forward, and
    `@auto_docstring` from a function that gets parameters.

    The last complains of what the source never documented.
    """
    documented: dict[Function, str] = {}
    for hit in (hit for application in plan.applications for hit in application.hits if added_parameters(hit)):
        documented[hit.match.function] = hit.site
    for function, site in documented.items():
        _remove(function, site, {DOCUMENTING}, edits)
    ported = {hit.owner or hit.site for application in plan.applications for hit in application.hits}
    for name in sorted(ported):
        node = plan.tree.classes.get(name) or plan.tree.functions.get(name)
        if node is not None:
            _remove(node, name, HUB_DECORATORS, edits)
    hits = (hit for application in plan.applications for hit in application.hits)
    for name in sorted({hit.owner for hit in hits if hit.owner and hit.match.function.name.value == "forward"}):
        _remove(plan.tree.classes[name], name, DISPATCHING_DECORATORS, edits)


def _remove(node: cst.ClassDef | Function, site: str, names: frozenset[str] | set[str], edits: Edits) -> None:
    gone = [decorator for decorator in node.decorators if decorator_name(decorator) in names]
    for decorator in gone:
        line = edits.tree.line(decorator)
        edits.record_part(DECORATOR, site, line, edits.tree.places.last_line(decorator) + 1)
    if gone:
        edits.transform(node, lambda new: _without_decorators(new, names))


def _without_decorators(node: Any, names: frozenset[str] | set[str]) -> Any:
    """The definition without some decorators; comments above and behind them stay."""
    kept: list[cst.Decorator] = []
    owed: Sequence[cst.EmptyLine] = ()
    for decorator in node.decorators:
        lines = [*owed, *decorator.leading_lines]
        if decorator_name(decorator) in names:
            behind = decorator.trailing_whitespace.comment
            owed = [*lines, *comment_lines([behind] if behind else [])]
        else:
            kept.append(with_leading(decorator, lines) if kept or lines else decorator)
            owed = ()
    if not owed:
        return node.with_changes(decorators=kept)
    return node.with_changes(decorators=kept, lines_after_decorators=[*owed, *node.lines_after_decorators])
