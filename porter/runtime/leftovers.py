"""Tensors of a state dict that a port has no place for: said, where torch and PEFT would drop them in silence."""

from __future__ import annotations


def refuse_leftovers(keys: list[str]) -> None:
    """ValueError where there are keys of a state dict that have no place."""
    if keys:
        raise ValueError(_leftovers(keys))


def refuse_parts(keys: list[str]) -> None:
    """ValueError where there are keys of merged projections of which other parts are missing."""
    if keys:
        raise ValueError(without_others(keys))


def _leftovers(keys: list[str]) -> str:
    return f"{_named(keys)} would be dropped: this model has no such place. An adapter fits the model it was made for"


def without_others(keys: list[str]) -> str:
    """What is wrong with parts of merged projections whose other parts are not there."""
    return (
        f"{_named(keys)} would be dropped: a merged projection is filled by the weights of all its parts at once, as "
        "`from_pretrained` gives them; adapters of a part, where PEFT was put on before"
    )


def _named(keys: list[str]) -> str:
    return f"`{keys[0]}`" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
