"""Tree x rules -> what matches and may be applied, and where and why the rest does not.

Takes:    a `Subject` (tree, anatomy, defaults, what is kept) and loaded rules.
Gives:    `Findings`: applications (all edits of a rule or none, each sound), failures with reasons.
Imported: by `plan` and all further on, and by what proves rules. It needs `rulebook` and `anatomy`.
"""

from porter.match.bindings import Bindings, Match, Miss
from porter.match.found import Application, Failure, Findings, Hit
from porter.match.patterns import PatternMatcher
from porter.match.search import search
from porter.match.subject import Subject

__all__ = [
    "Application",
    "Bindings",
    "Failure",
    "Findings",
    "Hit",
    "Match",
    "Miss",
    "PatternMatcher",
    "Subject",
    "search",
]
