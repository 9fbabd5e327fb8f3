"""Whether a name of a source is what a rule imports: by the imports of both files, followed to where they lead."""

from __future__ import annotations

from porter.match.definitions import imported_from
from porter.tree import Tree


def same_import(source: Tree, name: str, wanted: str) -> bool:
    """Whether the dotted `name` of a source is always the thing that is called `wanted` in full.

    One thing may be imported from several modules of a package, as long as each takes it from the same place.
    """
    meant = source.qualified(name)
    if meant is None or meant == wanted:
        return meant is not None
    package, last = wanted.split(".")[0], wanted.rpartition(".")[2]
    if meant.split(".")[0] != package or meant.rpartition(".")[2] != last:
        return False
    return imported_from(meant) == imported_from(wanted)
