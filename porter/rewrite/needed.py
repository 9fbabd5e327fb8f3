"""Names that new code needs from elsewhere, and where each is imported from."""

from __future__ import annotations

from dataclasses import dataclass

from porter.match import Application, Hit
from porter.match.soundness.names import free_names
from porter.tree import Tree


@dataclass(frozen=True)
class Needed:
    """`from module import name as bound`, or `import module as bound` where there is no name."""

    module: str
    name: str | None

    def alias(self, bound: str) -> str:
        """How the name stands in an import."""
        return bound if self.name in (None, bound) else f"{self.name} as {bound}"


def needed_by(application: Application, hit: Hit, tree: Tree) -> dict[str, Needed]:
    """Every name that the filled code needs and the source does not always have."""
    found = {}
    for name in sorted(free_names(hit)):
        item = application.rule.imports.get(name)
        if item is not None and not is_always_bound(name, tree):
            found[name] = Needed(item.module, item.name)
    return found


def is_always_bound(name: str, tree: Tree) -> bool:
    """Whether the source binds the name at module level unconditionally."""
    if name in tree.imports:
        return name in tree.imported_always
    return name in tree.functions or name in tree.classes
