"""One `before` and its `after`, and what matching asks of them: each worked out when it is first asked for, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst

from porter.rulebook.markers import is_gap
from porter.tree import Function, Node, Tree
from porter.tree.fields import walk
from porter.tree.functions import body_of, every_parameter, parameter_names
from porter.tree.names import CONSTANTS, dotted, self_attribute, stored_nodes
from porter.tree.straight import Straight, straight_line
from porter.tree.versions import number_names

UNREAD = "_"  # the local that is bound for the sake of the others


@dataclass(frozen=True)
class Pattern:
    """One `before` and its `after`; None for a verdict, a `given` and a `not`. `file` is where `before` stands."""

    name: str
    before: Function = field(compare=False, repr=False)
    after: Function | None = field(compare=False, repr=False)
    file: Tree = field(compare=False, repr=False)
    absent: frozenset[int] = frozenset()  # numbers of its optional parts that this spelling is without
    arguments: tuple[str, ...] = ()  # metavariables that are parameters of the function: `porter.rule.Argument`
    varying: tuple[str, ...] = ()  # metavariables that depend on those: `porter.rule.Varying`

    @property
    def variant(self) -> str:
        """What the spelling is called; nothing for the plain one."""
        return self.name.partition("__")[2]

    @cached_property
    def metavariables(self) -> frozenset[str]:
        """Parameters of `before`: each stands for an expression."""
        return frozenset(parameter_names(self.before) - {"self"})

    @cached_property
    def _nodes(self) -> tuple[Node, ...]:
        return tuple(walk(self.before))

    @cached_property
    def _nodes_after(self) -> tuple[Node, ...]:
        return tuple(walk(self.after)) if self.after else ()

    def calls(self) -> Iterator[tuple[Function, cst.Call]]:
        """Calls of either side, with the function they stand in."""
        for side, nodes in ((self.before, self._nodes), (self.after, self._nodes_after)):
            if side is not None:
                yield from ((side, node) for node in nodes if isinstance(node, cst.Call))

    @cached_property
    def stored(self) -> frozenset[Node]:
        """Nodes of either side that are bound."""
        return frozenset((*stored_nodes(self._nodes), *stored_nodes(self._nodes_after)))

    @cached_property
    def _bound(self) -> frozenset[str]:
        return frozenset(leaf.value for leaf in stored_nodes(self._nodes) if isinstance(leaf, cst.Name))

    @cached_property
    def assigned(self) -> frozenset[str]:
        """Names that `before` assigns: its locals, but for `_`, which nobody reads."""
        return self._bound - {UNREAD}

    @cached_property
    def assigned_after(self) -> frozenset[str]:
        """Names that `after` assigns, and those of its lambdas' parameters."""
        assigned = {leaf.value for leaf in stored_nodes(self._nodes_after) if isinstance(leaf, cst.Name)}
        lambdas = (node for node in self._nodes_after if isinstance(node, cst.Lambda))
        return frozenset(assigned.union(*map(every_parameter, lambdas)))

    @cached_property
    def hidden(self) -> frozenset[str]:
        """What it binds and nothing else may use: `_`, and locals that are gone in `after`."""
        return self._bound - (self.assigned_after - {UNREAD}) if self.after is not None else frozenset()

    @cached_property
    def named(self) -> frozenset[str]:
        """Every name of `before`."""
        return frozenset(node.value for node in self._nodes if isinstance(node, cst.Name))

    @cached_property
    def read_after(self) -> frozenset[str]:
        """Names that the statements of `after` read."""
        body = body_of(self.after) if self.after else ()
        nodes = [node for statement in body for node in walk(statement)]
        own = set(stored_nodes(nodes))
        return frozenset(node.value for node in nodes if isinstance(node, cst.Name) and node not in own) - CONSTANTS

    @cached_property
    def attributes(self) -> tuple[frozenset[str], frozenset[str]]:
        """Attributes of `self` that `before` assigns, and those that `after` does."""
        before, after = (map(self_attribute, stored_nodes(nodes)) for nodes in (self._nodes, self._nodes_after))
        return frozenset(filter(None, before)), frozenset(filter(None, after))

    @cached_property
    def versions(self) -> dict[Node, int]:
        """The version of every `Name` of either side."""
        versions: dict[Node, int] = {}
        for side in (self.before, self.after):
            if side is not None:
                number_names(side, self.stored, versions)
        return versions

    @cached_property
    def straight(self) -> Straight | None:
        """`before` as what it computes, where it is one value in a straight line with nothing left open."""
        is_open = any(is_gap(statement) for statement in body_of(self.before))
        return None if is_open else straight_line(self.before, self.versions)

    @cached_property
    def meanings(self) -> dict[Node, str]:
        """Global names of `before`, and chains of attributes on them -> what they mean by the imports of their file."""
        own = self.metavariables | self.assigned
        found: dict[Node, str] = {}
        for node in self._nodes:
            name = dotted(node)
            meaning = self.file.qualified(name) if name and name.split(".")[0] not in own else None
            if meaning is not None:
                found[node] = meaning
        return found

    @property
    def reason(self) -> str:
        """Why code of this pattern is right as it is: the docstring of a verdict, in one line."""
        return " ".join((self.before.get_docstring() or "").split())

    @cached_property
    def place(self) -> str:
        """Where `before` stands, as messages name it: `rules/norm_rms.py:25`."""
        return f"{self.file.display}:{self.line(self.before)}"

    def line(self, node: Node) -> int:
        """The line of a node of `before`; of one that optional parts were taken out of, that of the function."""
        return self.file.line(node if node in self.file.places else self.file.functions[self.before.name.value])

    def code(self, node: Node) -> str:
        """The first line of a node of either side, as it is written."""
        text = self.file.code(node) if node in self.file.places else cst.Module([]).code_for_node(node).strip()
        return text.splitlines()[0]
