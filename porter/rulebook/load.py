"""A folder of rule files -> loaded rules: read as text, never imported. The first broken file refuses them all."""

from __future__ import annotations

from pathlib import Path

import libcst as cst

from porter.diagnostics import Refused
from porter.rule import Rule
from porter.rulebook.declaration import declared
from porter.rulebook.faults import (
    fault_of_calls,
    fault_of_functions,
    fault_of_guards,
    fault_of_names,
    fault_of_pair,
    fault_of_parts,
    fault_of_splits,
    is_of_pytorch,
)
from porter.rulebook.identities import Identities, load_identities
from porter.rulebook.kept import keep, kept, name_of_kept
from porter.rulebook.loaded import Code, LoadedEdit, LoadedRule
from porter.rulebook.optional import spellings, without
from porter.rulebook.pattern import Pattern
from porter.rulebook.shared import PREFIXES, SharedFiles, Taken, broken, identity, read_rule_file
from porter.rulebook.words import words_of
from porter.tree import Function, Node, Tree
from porter.tree.collector import paused_collector


def load_rules(directory: Path, *, proving: bool = False) -> tuple[LoadedRule, ...] | Refused:
    """Load every `*.py` of a folder, by name: `proving` with what each must not match. Errors are P030, located.

    Rules that were sound once are kept, and not read again while they stay as they are; those to be proved are not.
    """
    with paused_collector():
        name = None if proving else name_of_kept(directory)
        known = kept(name) if name else None
        if known is not None:
            return known
        loaded = _load_rules(directory, proving)
        if name and not isinstance(loaded, Refused):
            keep(name, loaded)
        return loaded


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
    needs = {need for rule in loaded for need in rule.needs}
    for rule in loaded:
        asked = [(other, names) for other in rule.declared.supersedes]
        asked += [(other, names | needs) for other in rule.declared.requires.values()]
        for other, known in asked:
            if other == rule.name:
                return broken(rule.tree, rule.tree.statements[0], f"rule `{rule.name}` names itself")
            if other not in known:
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
    rule = declared(declaration.value, tree)
    if isinstance(rule, Refused):
        return rule
    taken = (shared or SharedFiles(path.parent, proving=proving)).taken_by(tree)
    if isinstance(taken, Refused):
        return taken
    identities = identities or Identities()
    edits = _load_edits(tree, taken, rule, declaration, identities)
    if isinstance(edits, Refused):
        return edits
    fault = fault_of_functions(tree, rule)
    if fault is not None:
        return broken(tree, *fault)
    alone = _without_after(tree, taken)
    given: dict[str, tuple[Pattern, ...]] = {}
    unmeant = fault_of_guards(rule, edits) or fault_of_splits(rule, edits)
    if unmeant is not None:
        return broken(tree, declaration.value, unmeant)
    for pattern in alone:
        if pattern.name.startswith("given_"):
            wanted = pattern.name.removeprefix("given_").split("__")[0]
            given[wanted] = (*given.get(wanted, ()), pattern)
    negatives = tuple(pattern for pattern in alone if pattern.name.startswith("not_"))
    sha256 = identity(tree, taken)
    code = Code(edits, given, negatives, tree, taken, identities)
    words = tuple(loaded.words for loaded in edits)
    return LoadedRule(path.stem, rule, tree.display, sha256, document, code.is_verdict, words, fetch=lambda: code)


def _declares_rule(node: Node) -> bool:
    return isinstance(node, cst.Assign) and any(
        isinstance(item.target, cst.Name) and item.target.value == "rule" for item in node.targets
    )


def _without_after(tree: Tree, taken: tuple[Taken, ...]) -> list[Pattern]:
    """Every `given` and every `not` of a rule: what it takes, then its own."""
    own = (tree, tuple(f for name, f in tree.functions.items() if name.startswith(PREFIXES)))
    every = [*((each.file, each.functions) for each in taken), own]
    return [
        Pattern(f.name.value, f, None, file)
        for file, functions in every
        for f in functions
        if f.name.value.startswith(PREFIXES)
    ]


def _load_edits(
    tree: Tree, taken: tuple[Taken, ...], rule: Rule, declaration: cst.Assign, identities: Identities
) -> tuple[LoadedEdit, ...] | Refused:
    if is_of_pytorch(rule.edits[0].site):
        return (LoadedEdit(rule.edits[0], (), ()),)
    functions = {f.name.value: f for each in taken for f in each.functions} | tree.functions
    files = {f.name.value: each.file for each in taken for f in each.functions}
    loaded = []
    for edit in rule.edits:
        suffix = f"_{edit.name}" if edit.name else ""
        names = [n for n in functions if n == f"before{suffix}" or n.startswith(f"before{suffix}__")]
        if not names:
            return broken(tree, declaration.value, f"no function `before{suffix}`")
        patterns = []
        for name in names:
            variant = name[len(f"before{suffix}") :]
            after = functions.get(f"after{suffix}{variant}") or functions.get(f"after{suffix}")
            before, file = functions[name], files.get(name, tree)
            if after is None and not before.get_docstring():
                return broken(file, before, f"`{name}` has no `after{suffix}`, and no docstring that says why")
            fault = fault_of_parts(before, after)
            found = [] if fault else _spelled(name, before, after, file)
            fault = fault or next(filter(None, (fault_of_pair(edit, p) or fault_of_calls(p) for p in found)), None)
            if fault:
                return broken(file, after or before, fault)
            patterns += found
        fault = fault_of_names(edit, patterns)
        if fault:
            return broken(tree, declaration.value, fault)
        words = tuple(words_of(pattern, rule, identities) for pattern in patterns)
        loaded.append(LoadedEdit(edit, tuple(patterns), words))
    silent = [p for each in loaded for p in each.patterns if p.after is None]
    if silent and any(pattern.after for each in loaded for pattern in each.patterns):
        return broken(tree, silent[0].before, f"`{silent[0].name}` has no `after`, and others of the rule have one")
    return tuple(loaded)


def _spelled(name: str, before: Function, after: Function | None, tree: Tree) -> list[Pattern]:
    """A pattern for every spelling that its optional parts allow."""
    return [
        Pattern(name, without(before, absent), after and without(after, absent), tree, absent)
        for absent in spellings(before)
    ]
