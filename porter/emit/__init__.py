"""A port -> a folder to review: modeling file, package file, account, diff, run script; and its registry entry.

Takes:    a `Ported`, and the folder it shall stand in.
Gives:    files on disk, all or none; or how those there differ. `render_port` writes nothing.
Imported: by `runtime`, `verify`, `lowering`, `runner`, `matrix`, `report`, `cli`. It needs `rewrite`.
"""

from porter.emit.render import Rendered, render_port
from porter.emit.write import Difference, Written, check, emit, occupied

__all__ = ["Difference", "Rendered", "Written", "check", "emit", "occupied", "render_port"]
