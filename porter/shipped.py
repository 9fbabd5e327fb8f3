"""Where the folders that travel with porter are: `rules` and `templates`.

In a checkout (and an editable install of it) they stand beside the package, in a wheel inside it. Nothing is read here.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """The folder `rules` or `templates`, wherever this porter was installed from."""
    inside_wheel = _PACKAGE / f"_{name}"
    return inside_wheel if inside_wheel.is_dir() else _PACKAGE.parent / name
