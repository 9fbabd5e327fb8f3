"""A plan -> a new tree -> the text of a port. The only room that makes nodes.

Takes:    a `Plan`.
Gives:    `Rewritten` (text, changes, exports); `Ported` is a whole port, as `convert` puts it together.
Imported: by `emit` and what shows ports. It needs `plan`.
"""

from porter.rewrite.ported import IMPORTS, PARTS, Change, Ported
from porter.rewrite.rewrite import Rewritten, rewrite

__all__ = ["IMPORTS", "PARTS", "Change", "Ported", "Rewritten", "rewrite"]
