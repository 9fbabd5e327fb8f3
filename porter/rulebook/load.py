"""A folder of rule files -> loaded rules: read as text, never imported. The first broken file refuses them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import libcst as cst

from porter.diagnostics import Refused
from porter.rule import UNITS, Edit, Rule
from porter.rulebook.faults import fault_of_calls, fault_of_pair
from porter.rulebook.identities import Identities, load_identities
from porter.rulebook.loaded import LoadedEdit, LoadedRule
from porter.rulebook.pattern import Pattern
from porter.rulebook.shared import PREFIXES, SharedFiles, Taken, broken, identity, read_rule_file
from porter.tree import Node, Tree
from porter.tree.collector import paused_collector
from porter.tree.values import constant, is_constant


def load_rules(directory: Path, *, proving: bool = False) -> tuple[LoadedRule, ...] | Refused:
    """Load every `*.py` of a folder, by name: `proving` with what each must not match. Errors are P030, located."""
    with paused_collector():
        return _load_rules(directory, proving)


def _load_rules(directory: Path, proving: bool) -> tuple[LoadedRule, ...] | Refused:
    loaded: list[LoadedRule] = []
    shared = SharedFiles(directory, proving=proving)
    identities = load_identities(directory)
    if isinstance(identities, Refused):
        return identities
    for path in sorted(directory.glob("*.py")):
        if path.name.startswith("_"):
            continue
        rule = load_rule(path, shared, identities, proving=proving)
        if isinstance(rule, Refused):
            return rule
        loaded.append(rule)
    names = {rule.name for rule in loaded}
    for rule in loaded:
        for other in (*rule.declared.supersedes, *rule.declared.requires.values()):
            if other not in names:
                return broken(rule.tree, rule.tree.statements[0], f"rule `{rule.name}` names no rule `{other}`")
    return tuple(loaded)


def load_rule(
    path: Path,
    shared: SharedFiles | None = None,
    identities: Identities | None = None,
    *,
    proving: bool = False,
) -> LoadedRule | Refused:
    """Read one rule file without importing it. Errors are P030, with the span in the rule file or in one it shares."""
    tree = read_rule_file(path, f"{path.parent.name}/{path.name}", proving=proving)
    if isinstance(tree, Refused):
        return tree
    declaration = next((node for node in tree.statements if _declares_rule(node)), None)
    if not isinstance(declaration, cst.Assign):
        first = tree.statements[0] if tree.statements else tree.module
        return broken(tree, first, "a rule file needs `rule = Rule(...)`")
    document = tree.module.get_docstring()
    if document is None:
        return broken(tree, declaration, "a rule file starts with its docstring: what it does, numerics, contract")
    try:
        rule = _declared(declaration.value, tree)
    except (ValueError, TypeError) as error:
        return broken(tree, declaration.value, str(error))
    edits = _load_edits(tree, rule, declaration)
    if isinstance(edits, Refused):
        return edits
    taken = (shared or SharedFiles(path.parent, proving=proving)).taken_by(tree)
    if isinstance(taken, Refused):
        return taken
    alone = _without_after(tree, taken)
    given: dict[str, tuple[Pattern, ...]] = {}
    for pattern in alone:
        if pattern.name.startswith("given_"):
            wanted = pattern.name.removeprefix("given_").split("__")[0]
            given[wanted] = (*given.get(wanted, ()), pattern)
    negatives = tuple(pattern for pattern in alone if pattern.name.startswith("not_"))
    sha256 = identity(tree, taken)
    return LoadedRule(
        path.stem, rule, edits, given, negatives, tree, taken, sha256, document, identities or Identities()
    )


def _declares_rule(node: Node) -> bool:
    return isinstance(node, cst.Assign) and any(
        isinstance(item.target, cst.Name) and item.target.value == "rule" for item in node.targets
    )


def _without_after(tree: Tree, taken: tuple[Taken, ...]) -> list[Pattern]:
    """Every `given` and every `not` of a rule: what it takes, then its own."""
    own = (tree, tuple(f for name, f in tree.functions.items() if name.startswith(PREFIXES)))
    every = [*((each.file, each.functions) for each in taken), own]
    return [Pattern(f.name.value, f, None, file) for file, functions in every for f in functions]


def _load_edits(tree: Tree, rule: Rule, declaration: cst.Assign) -> tuple[LoadedEdit, ...] | Refused:
    unit, site = rule.unit or "statements", rule.site or "*"
    edits = rule.edits or (Edit("", site, unit, rule.private, rule.parameters, rule.varying),)
    loaded = []
    for edit in edits:
        if edit.unit not in UNITS:
            return broken(tree, declaration.value, f"unit is `{edit.unit}`, not one of {', '.join(UNITS)}")
        suffix = f"_{edit.name}" if edit.name else ""
        names = [n for n in tree.functions if n == f"before{suffix}" or n.startswith(f"before{suffix}__")]
        if not names:
            return broken(tree, declaration.value, f"no function `before{suffix}`")
        patterns = []
        for name in names:
            variant = name[len(f"before{suffix}") :]
            after = tree.functions.get(f"after{suffix}{variant}") or tree.functions.get(f"after{suffix}")
            before = tree.functions[name]
            if after is None:
                return broken(tree, before, f"`{name}` has no `after{suffix}`")
            fault = fault_of_pair(edit, before, after)
            if "..." in tree.text:
                fault = fault or fault_of_calls(before) or fault_of_calls(after)
            if fault:
                return broken(tree, after, fault)
            patterns.append(Pattern(name, before, after, tree))
        loaded.append(LoadedEdit(edit, tuple(patterns)))
    return tuple(loaded)


def _declared(node: Node, tree: Tree) -> Any:
    """Evaluate `Rule(...)`: literals and nested `Edit(...)` only."""
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in ("Rule", "Edit"):
        cls = Rule if node.func.value == "Rule" else Edit
        plain = [_declared(item.value, tree) for item in node.args if item.keyword is None and not item.star]
        named = {item.keyword.value: _declared(item.value, tree) for item in node.args if item.keyword is not None}
        return cls(*plain, **named)
    if isinstance(node, cst.Tuple):
        return tuple(_declared(element.value, tree) for element in node.elements)
    if isinstance(node, cst.Dict):
        pairs = [element for element in node.elements if isinstance(element, cst.DictElement)]
        return {_declared(pair.key, tree): _declared(pair.value, tree) for pair in pairs}
    if is_constant(node):
        return constant(node)
    raise ValueError(f"a rule is declared with literals only, found `{tree.code(node)}`")
