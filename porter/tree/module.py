"""A parsed module: its tree, an index of what it defines, a version for every name, and the place of every node.

Everything but the tree is worked out when it is first asked for, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst

from porter.diagnostics import Span
from porter.tree.fields import Function, Node, Statement, children
from porter.tree.functions import methods, statements
from porter.tree.imports import Import, imports_of
from porter.tree.names import is_variable, stored_nodes
from porter.tree.order import Order
from porter.tree.patches import Patch, patches_of
from porter.tree.places import Places
from porter.tree.straight import Straight, straight_line
from porter.tree.versions import number_names


@dataclass(frozen=True)
class Tree:
    """A module as read. `package` is where its relative imports start from, None where that is not known."""

    display: str
    text: str = field(repr=False)
    module: cst.Module = field(repr=False, compare=False)
    package: str | None = None

    # -- what it defines

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        return tuple(statements(self.module))

    @cached_property
    def classes(self) -> dict[str, cst.ClassDef]:
        return {node.name.value: node for node in self.statements if isinstance(node, cst.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, Function]:
        return {node.name.value: node for node in self.statements if isinstance(node, cst.FunctionDef)}

    @cached_property
    def imports(self) -> dict[str, Import]:
        return {name: items[-1] for name, items in self.alternatives.items()}

    @cached_property
    def alternatives(self) -> dict[str, list[Import]]:
        """The imports that a name may be bound by outside functions and classes: the last, and conditional ones."""
        found: dict[str, list[Import]] = {}
        for node in self.statements:
            is_certain = isinstance(node, (cst.Import, cst.ImportFrom))
            for item in imports_of(node):
                found[item.bound] = [*(() if is_certain else found.get(item.bound, ())), item]
        return found

    @cached_property
    def imported_always(self) -> frozenset[str]:
        """Names that an import binds whenever the module is imported: not those under a condition."""
        plain = [node for node in self.statements if isinstance(node, (cst.Import, cst.ImportFrom))]
        last = {item.bound: item.node for item in self.imports.values()}
        return frozenset(name for node in plain for name in (i.bound for i in imports_of(node)) if last[name] is node)

    @cached_property
    def module_bindings(self) -> Counter[str]:
        """How often each name is bound outside functions and classes, under conditions too."""
        found = Counter({name: len(items) for name, items in self.alternatives.items()})
        if "global" in self.text:  # a function may bind it then
            nodes = (node for node in self.nodes(self.module) if isinstance(node, cst.Global))
            found.update(item.name.value for node in nodes for item in node.names)
        pending: list[Node] = [self.module]
        while pending:
            node = pending.pop()
            found.update(leaf.value for leaf in stored_nodes([node]) if isinstance(leaf, cst.Name))
            if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
                found[node.name.value] += 1
            elif not isinstance(node, cst.Lambda):
                pending += children(node)
        return found

    def all_functions(self) -> Iterator[Function]:
        """Module functions, then methods."""
        yield from self.functions.values()
        for node in self.classes.values():
            yield from methods(node).values()

    # -- nodes

    @cached_property
    def _order(self) -> Order:
        return Order(self.module)

    def nodes(self, root: Node) -> Sequence[Node]:
        """A node of the tree and every node below it, in the order of the text."""
        return self._order.below(root)

    @property
    def parents(self) -> dict[Node, Node]:
        """Every node of the tree -> the node that holds it."""
        return self._order.parents

    def within(self, node: Node, roots: set[Node] | frozenset[Node]) -> bool:
        """Whether the node is one of `roots` or stands below one."""
        here: Node | None = node
        while here is not None:
            if here in roots:
                return True
            here = self.parents.get(here)
        return False

    # -- names

    @cached_property
    def stored(self) -> frozenset[Node]:
        """Nodes that are bound, set or deleted rather than read."""
        return frozenset(stored_nodes(self.nodes(self.module)))

    @cached_property
    def _assigned(self) -> dict[Node, frozenset[str]]:
        return {}

    def assigned(self, function: Function) -> frozenset[str]:
        """Names that a function binds: assigned, imported or defined in it."""
        found = self._assigned.get(function)
        if found is None:
            nodes = self.nodes(function)
            names = [leaf.value for leaf in stored_nodes(nodes) if isinstance(leaf, cst.Name)]
            for node in nodes[1:]:
                if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
                    names.append(node.name.value)
                elif isinstance(node, (cst.Import, cst.ImportFrom)):
                    names += [item.bound for item in imports_of(node)]
            found = self._assigned[function] = frozenset(names)
        return found

    def is_load(self, node: Node) -> bool:
        """Whether the node is a name that is read."""
        return is_variable(node) and node not in self.stored

    @cached_property
    def versions(self) -> dict[Node, int]:
        """The version of every `Name` inside a function: see `versions`."""
        versions: dict[Node, int] = {}
        for function in self.all_functions():
            number_names(function, self.stored, versions)
        return versions

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name and attribute that occurs."""
        nodes = self.nodes(self.module)
        attributes = (node.attr.value for node in nodes if node.__class__ is cst.Attribute)
        return frozenset([*attributes, *(node.value for node in nodes if node.__class__ is cst.Name)])

    @cached_property
    def calls(self) -> dict[str, list[cst.Call]]:
        """The calls of what a plain name stands for, by that name, in the order of the text."""
        found: dict[str, list[cst.Call]] = {}
        for node in self.nodes(self.module):
            if node.__class__ is cst.Call and node.func.__class__ is cst.Name:
                found.setdefault(node.func.value, []).append(node)
        return found

    @cached_property
    def attribute_stores(self) -> dict[str, list[cst.Attribute]]:
        """Attributes that are set or deleted anywhere, by name."""
        found: dict[str, list[cst.Attribute]] = {}
        for node in self.stored:
            if isinstance(node, cst.Attribute):
                found.setdefault(node.attr.value, []).append(node)
        return found

    @cached_property
    def patches(self) -> tuple[Patch, ...]:
        """What the module changes of things that it did not make there."""
        return tuple(patches_of(self))

    @cached_property
    def patches_of_self(self) -> dict[str, Patch]:
        """By what is changed: one of those that a class makes of its own objects, of which a large file has many."""
        return {patch.changed: patch for patch in self.patches if patch.root == "self" and patch.changed}

    @cached_property
    def patches_elsewhere(self) -> tuple[Patch, ...]:
        """All the others."""
        return tuple(patch for patch in self.patches if patch.root != "self")

    def qualified(self, name: str) -> str | None:
        """What a dotted name of this module means: `torch.nn.Linear` for `nn.Linear`; None for what no import binds."""
        root, dot, rest = name.partition(".")
        items = self.alternatives.get(root, [])
        meanings = {item.qualified(self.package) for item in items}
        if len(meanings) != 1 or self.module_bindings[root] != len(items):
            return None
        (full,) = meanings
        return f"{full}{dot}{rest}" if full else None

    def packages(self, name: str) -> set[str]:
        """Names of the packages that a name is imported from, as far as they are known."""
        meanings = (item.qualified(self.package) for item in self.alternatives.get(name, ()))
        return {meaning.split(".")[0] for meaning in meanings if meaning}

    def straight(self, function: Function) -> Straight | None:
        """A function as what it computes, where it is one value in a straight line."""
        if function not in self._straight:
            self._straight[function] = straight_line(function, self.versions)
        return self._straight[function]

    @cached_property
    def _straight(self) -> dict[Function, Straight | None]:
        return {}

    # -- places

    @cached_property
    def places(self) -> Places:
        return Places(self.module)

    def code(self, node: Node) -> str:
        """The node as it is written."""
        return self.places.code(node)

    def statement_code(self, node: Node) -> str:
        """The first line of the statement that a node stands in."""
        here: Node | None = node
        while here is not None and not isinstance(here, (cst.BaseSmallStatement, cst.BaseCompoundStatement)):
            here = self.parents.get(here)
        return self.code(here or node).splitlines()[0]

    def line(self, node: Node) -> int:
        """The line, from 1, that a node starts in."""
        return self.places.line(node)

    def span(self, node: Node) -> Span:
        """The node's place for a message."""
        return self.places.span(node, self.display)
