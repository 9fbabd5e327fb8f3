"""What several folders of rules have under one name: a port has room for one of each, so none is dropped in silence.

Contract: rules by their names (P032); files of ops, and ops, by theirs where the text is another (P034). Located in the
later folder, by a path that can be opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from porter.diagnostics import Diagnostic, Refused, Span
from porter.rulebook.folders import RuleFolder
from porter.rulebook.loaded import LoadedRule
from porter.rulebook.ops import OPS, declared_ops


def clash_of_rules(shipped: Sequence[LoadedRule], own: Sequence[LoadedRule]) -> Refused | None:
    """P032 for two rules of one name."""
    known = {rule.name: rule.path for rule in shipped}
    for rule in own:
        assert rule.folder is not None
        place = rule.folder.file(f"{rule.name}.py")
        if rule.name in known:
            message = f"there are two rules `{rule.name}`"
            notes = (f"the other is `{known[rule.name]}`", f"this one is of {rule.folder.origin}")
            help = "name the file otherwise; to take the other's place, say `supersedes`"
            return Refused((Diagnostic("P032", message, Span(place, 1, 0, 1, 1), notes=notes, help=help),))
        known[rule.name] = place
    return None


def clash_of_ops(folders: Sequence[RuleFolder]) -> Refused | None:
    """P034 for a file of ops, or an op, that two folders have with different text. The same text twice is one."""
    having = [folder for folder in folders if os.path.isdir(folder.path / OPS)]
    known: dict[str, tuple[str, str]] = {}  # a file's name, an op's -> the sha256 and the path of the file
    for folder in having if len(having) > 1 else ():
        declared = declared_ops(folder.path)
        if isinstance(declared, Refused):
            return declared
        for file, tree, nodes in declared:
            path = folder.file(f"{OPS}/{file.name}.py")
            whole = Span(path, 1, 0, 1, 1)
            named = [(f"a file `{OPS}/{file.name}.py`", whole)]
            named += [(f"an op `{op}`", replace(tree.span(node), path=path)) for op, node in nodes.items()]
            for what, place in named:
                sha256, other = known.setdefault(what, (file.sha256, path))
                if sha256 != file.sha256:
                    message = f"there is {what} already, with other text"
                    notes = (f"the other is in `{other}`", f"this one is of {folder.origin}")
                    help = "name one of them otherwise, or make both files the same"
                    return Refused((Diagnostic("P034", message, place, notes=notes, help=help),))
    return None
