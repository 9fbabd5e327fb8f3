"""Words that a function must hold for a pattern to match in it: a look at them spares most patterns a search.

A name, attribute, keyword or operator of a pattern is such a word where matching takes it literally: not a
metavariable, a local, an attribute that stands for any, nor what an identity may spell without it.
"""

from __future__ import annotations

import libcst as cst

from porter.rule import Rule
from porter.rulebook.identities import Identities
from porter.rulebook.markers import is_optional
from porter.rulebook.pattern import UNREAD, Pattern
from porter.tree import Node
from porter.tree.fields import children, walk
from porter.tree.functions import body_of, every_parameter
from porter.tree.names import CONSTANTS, word_of


def words_of(pattern: Pattern, rule: Rule, identities: Identities) -> frozenset[str]:
    """The words of one `before`."""
    inner = (node for node in walk(pattern.before) if isinstance(node, (cst.FunctionDef, cst.Lambda)))
    own = pattern.assigned.union(CONSTANTS, {"self", UNREAD}, *map(every_parameter, inner))
    found: set[str] = set()
    pending: list[Node] = list(body_of(pattern.before))
    while pending:
        node = pending.pop()
        meaning = pattern.meanings.get(node)
        if isinstance(node, cst.Annotation) or (isinstance(node, cst.Arg) and is_optional(node)):
            continue
        if meaning is not None:
            found.add(meaning.rpartition(".")[2])
            continue
        word = word_of(node)
        is_any = own if isinstance(node, cst.Name) else rule.attributes if isinstance(node, cst.Attribute) else ()
        if word is not None and word not in is_any:
            found.add(word)
        pending += children(node)
    return frozenset(found) - identities.dispensable
