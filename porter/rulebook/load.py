"""A folder of rule files -> loaded rules: read as text, never imported. The first broken file refuses them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import libcst as cst

from porter.diagnostics import Diagnostic, Refused
from porter.rule import Argument, Rule, Varying
from porter.rulebook.clashes import clash_of_ops, clash_of_rules
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
from porter.rulebook.folders import RuleFolder, distinct, fault_of_folder, is_rule_file
from porter.rulebook.identities import Identities, load_identities
from porter.rulebook.kept import keep, kept, name_of_kept
from porter.rulebook.loaded import Code, LoadedEdit, LoadedRule
from porter.rulebook.metavariables import fault_of_marks, marked, unmarked
from porter.rulebook.ops import OpFile, load_ops, used_ops
from porter.rulebook.optional import spellings, without
from porter.rulebook.pattern import Pattern
from porter.rulebook.shared import PREFIXES, SharedFiles, Taken, broken, identity, read_rule_file
from porter.rulebook.unproved import lacks_of
from porter.rulebook.words import words_of
from porter.tree import Node, Tree
from porter.tree.collector import paused_collector


def load_rules(
    directory: Path, *, beside: Sequence[RuleFolder] = (), proving: bool = False
) -> tuple[LoadedRule, ...] | Refused:
    """Load every `*.py` of a folder, and of those `beside` it, by name: `proving` with what each must not match.

    Errors are P030, located; P031 for a folder without rules, P032 for one name of two rules, P034 for ops that
    are broken, or that two folders have with different text.
    Rules that were sound once are kept, and not read again while they stay as they are; those to be proved are not.
    """
    with paused_collector():
        loaded = _known_or_loaded(directory, None, proving)
        if isinstance(loaded, Refused):
            return loaded
        own: list[LoadedRule] = []
        folders = distinct(beside)
        for folder in folders:
            more = fault_of_folder(folder) or _loaded_beside(folder, directory, proving)
            if isinstance(more, Refused):
                return more
            own += more
        rules = tuple(sorted((*loaded, *own), key=lambda rule: rule.name)) if own else loaded
        return clash_of_rules(loaded, own) or clash_of_ops(folders) or _unknown_names(rules) or rules


def _loaded_beside(folder: RuleFolder, base: Path, proving: bool) -> tuple[LoadedRule, ...] | Refused:
    """The rules of a folder of the user's own: each says where it is from, errors name files as the user does."""
    place = Path(os.path.abspath(folder.path))
    loaded = _known_or_loaded(place, base, proving)
    if isinstance(loaded, Refused):
        return Refused(tuple(_opened(diagnostic, place, folder) for diagnostic in loaded.diagnostics))
    return tuple(
        replace(rule, folder=folder, lacks=tuple(_opened(lack, place, folder) for lack in rule.lacks))
        for rule in loaded
    )


def _opened(diagnostic: Diagnostic, place: Path, folder: RuleFolder) -> Diagnostic:
    """The diagnostic with its place by a path that can be opened."""
    span = diagnostic.span
    name = span.path.removeprefix(f"{place.name}/") if span is not None else ""
    if span is None or not (place / name).is_file():
        return diagnostic
    return replace(diagnostic, span=replace(span, path=folder.file(os.path.relpath(place / name, place))))


def _known_or_loaded(directory: Path, base: Path | None, proving: bool) -> tuple[LoadedRule, ...] | Refused:
    name = None if proving else name_of_kept(directory, base)
    known = kept(name) if name else None
    if known is not None:
        return known
    loaded = _load_folder(directory, base, proving)
    if name and not isinstance(loaded, Refused):
        keep(name, loaded)
    return loaded


def _load_folder(directory: Path, base: Path | None, proving: bool) -> tuple[LoadedRule, ...] | Refused:
    """A folder by itself; beside porter's own, `base`, with its ops and with what it lacks to be proved."""
    whole = proving or base is not None  # cases and proofs are looked at
    loaded: list[LoadedRule] = []
    shared = SharedFiles(directory, proving=whole, base=base)
    identities = load_identities(directory, base)
    if isinstance(identities, Refused):
        return identities
    ops = load_ops(directory) if base is not None else ()
    if isinstance(ops, Refused):
        return ops
    for path in sorted(directory.glob("*.py")):
        if not is_rule_file(path):
            continue
        rule = load_rule(path, shared, identities, proving=whole, ops=ops if base is not None else None)
        if isinstance(rule, Refused):
            return rule
        loaded.append(rule)
    return tuple(loaded)


def _unknown_names(rules: Sequence[LoadedRule]) -> Refused | None:
    """P030 for a rule that names itself, or what is none."""
    names = {rule.name for rule in rules}
    needs = {need for rule in rules for need in rule.needs}
    for rule in rules:
        asked = [(other, names) for other in rule.declared.supersedes]
        asked += [(other, names | needs) for other in rule.declared.requires.values()]
        for other, known in asked:
            says = f"rule `{rule.name}` names itself" if other == rule.name else None
            says = says or (None if other in known else f"rule `{rule.name}` names no rule `{other}`")
            if says is not None:
                refused = broken(rule.tree, rule.tree.statements[0], says)
                place = Path(os.path.abspath(rule.folder.path)) if rule.folder else None
                if rule.folder is None or place is None:
                    return refused
                return Refused(tuple(_opened(diagnostic, place, rule.folder) for diagnostic in refused.diagnostics))
    return None


def load_rule(
    path: Path,
    shared: SharedFiles | None = None,
    identities: Identities | None = None,
    *,
    proving: bool = False,
    ops: Sequence[OpFile] | None = None,
) -> LoadedRule | Refused:
    """Read one rule file without importing it. Errors are P030, with the span in the rule file or in one it shares.

    ops: what the folder of a rule brings that did not come with porter: it is asked what it lacks to be proved.
    """
    tree = read_rule_file(path, f"{path.parent.name}/{path.name}", proving=proving, whole=ops is not None)
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
    code = Code(edits, given, negatives, tree, taken, identities)
    words = tuple(loaded.words for loaded in edits)
    used = {op.op for loaded in edits for pattern in loaded.patterns for op in used_ops(pattern)} if ops else set()
    own = tuple(file for file in ops or () if not used.isdisjoint(file.ops))
    lacks = lacks_of(path.stem, code, declaration, ops) if ops is not None else ()
    sha256 = identity(tree, taken, *(file.text for file in own), identities.own)
    known = (path.stem, rule, tree.display, sha256, document, code.is_verdict, words)
    return LoadedRule(*known, fetch=lambda: code, ops=own, lacks=lacks)


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
        befores = [(functions[name], files.get(name, tree)) for name in names]
        arguments, varying = marked(Argument, befores), marked(Varying, befores)
        for name, (before, file) in zip(names, befores, strict=True):
            variant = name[len(f"before{suffix}") :]
            after = functions.get(f"after{suffix}{variant}") or functions.get(f"after{suffix}")
            unmeant = fault_of_marks(before, file)
            if unmeant is not None:
                return broken(file, *unmeant)
            if after is None and not before.get_docstring():
                return broken(file, before, f"`{name}` has no `after{suffix}`, and no docstring that says why")
            fault = fault_of_parts(before, after)
            found = [] if fault else _spelled(Pattern(name, before, after, file, frozenset(), arguments, varying))
            fault = fault or next(filter(None, (fault_of_pair(edit, p) or fault_of_calls(p) for p in found)), None)
            if fault:
                named = (after or before).name.value
                return broken(files.get(named, tree), functions[named], fault)
            patterns += found
        fault = fault_of_names(edit, patterns)
        if fault:
            return broken(tree, declaration.value, fault)
        words = tuple(words_of(pattern, rule, identities) for pattern in patterns)
        loaded.append(LoadedEdit(edit, tuple(patterns), words))
    silent = [p for each in loaded for p in each.patterns if p.after is None]
    if silent and any(pattern.after for each in loaded for pattern in each.patterns):
        name = silent[0].name
        return broken(files.get(name, tree), functions[name], f"`{name}` has no `after`, and others of the rule have one")
    return tuple(loaded)


def _spelled(whole: Pattern) -> list[Pattern]:
    """A pattern for every spelling that its optional parts allow."""
    before, after = unmarked(whole.before), whole.after
    return [
        replace(whole, before=without(before, absent), after=after and without(after, absent), absent=absent)
        for absent in spellings(before)
    ]
