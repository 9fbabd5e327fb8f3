"""Which class is the norm, rotary embedding, attention, mixer, MLP, experts, router, layer and model, from structure.

Contract: leaves by what they call and hold, containers by what they hold. A class that fits nothing here has no role:
it is for the account to say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst

from porter.anatomy.data import Member
from porter.anatomy.leaves import is_linear, leaf_role
from porter.anatomy.origins import is_of_torch
from porter.anatomy.reach import Bases, Reach
from porter.tree import Node, Tree
from porter.tree.functions import body_of, methods
from porter.tree.names import self_attribute

LEFT_ALONE = frozenset({"embedding", "linear", "bias", "wrapper"})  # a look-up, a product, a sum, a call handed on
_NORMS = frozenset({"LayerNorm", "RMSNorm"})  # PyTorch's
_MIXING = frozenset({"attention", "mixer"})

Members = dict[str, dict[str, Member]]


def read_roles(tree: Tree, reached: Reach, members: Members, bases: Bases, causal: str) -> dict[str, str]:
    """Role by class, in the order of the file, for those of the reached classes that have one."""
    reading = _Reading(tree, reached, members, bases, {causal: "causal"})
    reading.leaves()
    reading.inherited()
    for role, fits in (
        ("norm", reading.is_norms),
        ("router", reading.is_router),
        ("moe", reading.is_moe),
        ("layer", reading.is_layer),
        ("model", reading.is_model),
        ("wrapper", reading.is_wrapper),
    ):
        found = [name for name in reached.classes if reading.is_open(name) and fits(name)]
        reading.roles.update(dict.fromkeys(found, role))
    return {name: reading.roles[name] for name in tree.classes if name in reading.roles}


@dataclass(frozen=True)
class _Reading:
    """The roles read so far."""

    tree: Tree
    reached: Reach
    members: Members
    bases: Bases
    roles: dict[str, str] = field(default_factory=dict)

    def leaves(self) -> None:
        """Classes that do their work themselves."""
        for name in self.reached.classes:
            role = leaf_role(self.tree, self.tree.classes[name], self.members[name])
            if role and name not in self.roles:
                self.roles[name] = role

    def inherited(self) -> None:
        """A class that changes nothing of its base's structure is what its base is."""
        for name in self.reached.classes:
            if name not in self.roles:
                found = [self.roles[b] for b in self.bases[name] if b in self.roles and self.roles[b] != "causal"]
                found += [role for base in self.bases[name] if (role := self._of_torch(base)) is not None]
                if found:
                    self.roles[name] = found[0]

    def _of_torch(self, base: str) -> str | None:
        """The role of a class derived from PyTorch's own."""
        kind = base.split(".")[-1].lower()
        return kind if kind in LEFT_ALONE and is_of_torch(base, self.tree) else None

    def is_open(self, name: str) -> bool:
        """It has no role yet, or that of a base whose forward it has one of its own for."""
        return name not in self.roles or (self.roles[name] in LEFT_ALONE and self._does_something(name))

    def is_norms(self, name: str) -> bool:
        """It holds a list of norms, and no other module: one for each head, say."""
        held = set(self._held(name)) - {"ModuleList"}
        norms = {cls for cls in held if cls in _NORMS or self.roles.get(cls) == "norm"}
        is_list = any(member.is_list and member.classes for member in self.members[name].values())
        return bool(norms) and norms == held and is_list and self._does_something(name)

    def is_router(self, name: str) -> bool:
        """It stands beside experts, has one product at most, and is none of them."""
        beside = [cls for cls in self.reached.classes if name in self._held(cls) and "experts" in self._roles_held(cls)]
        linears = [member for member in self.members[name].values() if is_linear(member)]
        parameters = any("Parameter" in member.classes for member in self.members[name].values())
        has_weight = linears or parameters or name in self.roles
        return bool(beside and has_weight) and len(linears) <= 1 and self._does_something(name)

    def is_moe(self, name: str) -> bool:
        """It holds experts, or a list of MLPs, and no attention."""
        lists = {self.roles.get(cls) for m in self.members[name].values() if m.is_list for cls in m.classes}
        held = self._roles_held(name)
        return ("experts" in held or "mlp" in lists) and not held & _MIXING and self._does_something(name)

    def is_layer(self, name: str) -> bool:
        """It stands in a list and mixes positions, itself or in what it holds."""
        return name in self._listed() and self._does_something(name) and self._mixes(name)

    def is_model(self, name: str) -> bool:
        """It holds a list of layers."""
        lists = (member for member in self.members[name].values() if member.is_list)
        return any(self.roles.get(cls) == "layer" for member in lists for cls in member.classes)

    def is_wrapper(self, name: str) -> bool:
        """Its forward hands the call on to one module that it holds, and gives what came back, or that packed anew."""
        forward = methods(self.tree.classes[name]).get("forward")
        body = body_of(forward) if forward is not None else []
        if not 1 <= len(body) <= 2 or not isinstance(body[-1], cst.Return):
            return False
        first = body[0].value if isinstance(body[0], (cst.Return, cst.Assign, cst.AnnAssign)) else None
        calls = isinstance(first, cst.Call) and self_attribute(first.func) in self.members[name]
        return calls and (len(body) == 1 or self._packs(body[1]))

    def _packs(self, statement: Node) -> bool:
        """Whether a statement makes one object of what it was given, and computes nothing."""
        calls = [node for node in self.tree.nodes(statement) if isinstance(node, cst.Call)]
        computes = (cst.BinaryOperation, cst.UnaryOperation, cst.Subscript, cst.Comparison)
        own = any(self_attribute(node) is not None for node in self.tree.nodes(statement))
        made = calls[0].func if len(calls) == 1 else None
        is_class = isinstance(made, cst.Name) and made.value in self.tree.imports
        return is_class and not own and not any(isinstance(node, computes) for node in self.tree.nodes(statement))

    def _does_something(self, name: str) -> bool:
        return "forward" in methods(self.tree.classes[name])

    def _held(self, name: str) -> Iterator[str]:
        return (cls for member in self.members[name].values() for cls in member.classes)

    def _roles_held(self, name: str) -> set[str | None]:
        return {self.roles.get(cls) for cls in self._held(name)}

    def _listed(self) -> set[str]:
        """Classes that stand in a list of modules."""
        members = (member for name in self.reached.classes for member in self.members[name].values())
        return {cls for member in members if member.is_list for cls in member.classes}

    def _mixes(self, name: str) -> bool:
        """Whether attention or a mixer is in what a class holds, at any depth."""
        pending, seen = [name], set[str]()
        while pending:
            cls = pending.pop()
            if cls in seen or cls not in self.members:
                continue
            seen.add(cls)
            held = list(self._held(cls))
            if any(self.roles.get(inner) in _MIXING for inner in held):
                return True
            pending += held
        return False
