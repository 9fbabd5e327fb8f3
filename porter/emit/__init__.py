"""A port -> a folder to review: modeling file, package file, account, diff, run script; and its registry entry."""

from porter.emit.render import Rendered, render_port
from porter.emit.write import Difference, Written, check, emit, occupied

__all__ = ["Difference", "Rendered", "Written", "check", "emit", "occupied", "render_port"]
