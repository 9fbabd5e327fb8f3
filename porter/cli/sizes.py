"""`--config`: the file of a real model's sizes, named without loading torch."""

from __future__ import annotations

from pathlib import Path

from porter.cli.completion import CONFIGS
from porter.diagnostics import Refused, nearest, refused


def sizes_named(config: str) -> Path | Refused:
    """The file of a real model's sizes: porter's own, by name, one that is there, or that of a folder. P116 else."""
    known = {file.stem: file for file in sorted(CONFIGS.glob("*.json"))}
    if config in known:
        return known[config]
    path = Path(config)
    if path.exists():
        return path / "config.json" if path.is_dir() else path
    close = " or ".join(f"`{other}`" for other in nearest(config, known))
    help = f"did you mean {close}?" if close else f"give a file, or one of {', '.join(known)}"
    return refused("P116", f"no configuration `{config}`", help)
