"""Plan -> new tree -> text. The only place that makes nodes: what no edit touches is what was read.

After the rules, the frame: names the rewrites need are imported, relative imports become absolute, kernel-hub
decorators go from ported sites, helpers and imports that the rewrites left dead are swept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import libcst as cst

from porter.plan import Plan
from porter.rewrite.collect import collect
from porter.rewrite.edits import Edits
from porter.rewrite.exports import exported_names
from porter.rewrite.frame import collect_frame, replaced_imports
from porter.rewrite.imports import add_imports, drop_imports, lead_beside, make_absolute
from porter.rewrite.needed import Needed, needed_by
from porter.rewrite.own_ops import statements_for
from porter.rewrite.ported import UNUSED, Change
from porter.rewrite.rebuild import Rebuilder
from porter.rewrite.sweep import definition, drop_definitions, find_dead
from porter.source import Source
from porter.source.python import check_python
from porter.tree import Node, Tree


@dataclass(frozen=True)
class Rewritten:
    """The text of a port, whose doing each change is, and the names it offers."""

    code: str = field(repr=False)
    changes: tuple[Change, ...]
    exports: tuple[str, ...]


def rewrite(plan: Plan, source: Source) -> Rewritten:
    """Apply every application of the plan, which was made for `source`."""
    edits = Edits(plan.tree)
    needed: dict[str, Needed] = {}
    later = _Later()
    for application in plan.applications:
        for hit in application.hits:
            collect(application, hit, edits, later)
            needed.update(needed_by(application, hit, plan.tree))
    collect_frame(plan, source, edits, needed)
    make_absolute(edits)
    lead_beside(edits, source.beside)
    edits.settle()
    rebuilder = Rebuilder(edits)
    later.rebuilder = rebuilder
    new = Tree(plan.tree.display, "", rebuilder.module(), plan.tree.package)
    own = statements_for({application.rule.name: application.rule for application in plan.applications}.values())
    module, swept = _finished(plan.tree, new, needed, own)
    changes = {*edits.changes, *_changes_of(swept, plan.tree)}
    ordered = sorted(changes, key=lambda change: (change.start, change.end, change.rule or change.part, change.site))
    code = module.code
    fault = check_python(code, plan.tree.display)
    if fault is not None:
        raise AssertionError(f"the rewritten text is not Python: {fault.diagnostics[0]}")
    return Rewritten(code, tuple(ordered), exported_names(module))


class _Later:
    """What gives a node with the edits in it: known once all edits are."""

    rebuilder: Rebuilder

    def __call__(self, node: Node) -> Node:
        return self.rebuilder.node(node)

    def changes(self, nodes: Iterable[Node]) -> bool:
        return any(map(self.rebuilder.changes, nodes))


def _finished(
    source: Tree, new: Tree, needed: dict[str, Needed], own: tuple[str, ...]
) -> tuple[cst.Module, tuple[str, ...]]:
    """Sweep what is dead now, add the imports that the rewrites need."""
    dead = find_dead(source, new, set(needed))
    edits = Edits(new)
    drop_definitions(edits, dead.definitions)
    replaced = {name: item for name, item in replaced_imports(new).items() if name not in dead.imports}
    drop_imports(edits, dead.imports | replaced.keys())
    add_imports(edits, needed, replaced, own)
    return Rebuilder(edits).module(), dead.definitions


def _changes_of(swept: Iterable[str], source: Tree) -> Iterable[Change]:
    for name in swept:
        node = definition(source, name)
        first = min(source.line(part) for part in (node, *node.decorators))
        yield Change(None, name, first, source.places.last_line(node), UNUSED)
