"""Where the folders are that travel with porter, `rules` and `templates`, and the one it keeps things in.

In a checkout (and an editable install of it) they stand beside the package, in a wheel inside it. Nothing is read here.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """The folder `rules` or `templates`, wherever this porter was installed from."""
    inside_wheel = _PACKAGE / f"_{name}"
    return inside_wheel if inside_wheel.is_dir() else _PACKAGE.parent / name


def recorded_matrix() -> Path | None:
    """The recorded rows of the library's models: a checkout has them beside the package, a wheel has none."""
    root = _PACKAGE.parent
    rows = root / "tests" / "ports" / "matrix.json"
    return rows if (root / "pyproject.toml").is_file() and rows.is_file() else None


def cache_folder() -> Path:
    """Where porter keeps what it installs, builds and need not read again."""
    from platformdirs import user_cache_path

    return user_cache_path("porter", appauthor=False)
