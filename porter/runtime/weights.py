"""Merged projections as a reversible checkpoint map, in transformers' own WeightConverter words.

Contract: an original checkpoint loads into merged rows unchanged, and saving writes the original tensors back bit for
bit. Rows are split by the sizes the merged module's owner names: q, k and v of grouped heads are not equal. Nothing is
registered for the process: the source class of the same name loads as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps, WeightConverter


@dataclass(frozen=True)
class RowMerge:
    """`parts`, linear layers side by side in the source, are the rows of one linear layer `name` in the port.

    `sizes` names the attribute of the owning module that lists the rows of each part; None means equal parts.
    """

    name: str
    parts: tuple[str, ...]
    sizes: str | None = None

    def owners(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Path and module of each place in `model` that holds this merge."""
        for path, module in model.named_modules():
            children = dict(module.named_children())
            if self.name not in children or any(part in children for part in self.parts):
                continue
            if self.sizes is None or hasattr(module, self.sizes):
                yield path, module

    def split(self, owner: nn.Module, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The parts of merged `rows` (sum of sizes, ...), in order."""
        if self.sizes is None:
            return rows.chunk(len(self.parts))
        return rows.split(list(getattr(owner, self.sizes)))


class MergeRows(ConversionOps):
    """Original parts -> merged rows."""

    def __init__(self, merge: RowMerge) -> None:
        self.merge = merge

    @torch.no_grad
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        missing = [pattern for pattern in source_patterns if not input_dict.get(pattern)]
        if missing:
            raise ValueError(f"the checkpoint lacks {', '.join(missing)} of {kwargs.get('full_layer_name')}")
        # popped, so that each part is freed as soon as the rows are joined
        parts = [tensor for pattern in source_patterns for tensor in input_dict.pop(pattern)]
        return {target_patterns[0]: torch.cat(parts, dim=0)}

    @property
    def reverse_op(self) -> ConversionOps:
        return SplitRows(self.merge)


class SplitRows(ConversionOps):
    """Merged rows -> original parts."""

    def __init__(self, merge: RowMerge) -> None:
        self.merge = merge

    @torch.no_grad
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        (rows,) = input_dict.values()
        rows = rows[0] if isinstance(rows, list) else rows
        path, owners = kwargs["full_layer_name"], dict(self.merge.owners(kwargs["model"]))
        owner = path.rpartition(".")[0].rpartition(".")[0]  # transformers named the rows by their first part
        if owner not in owners:  # a layer of that name that the source has too
            return {path.replace(target_patterns[0], source_patterns[0]): rows}
        return dict(zip(target_patterns, self.merge.split(owners[owner], rows), strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        return MergeRows(self.merge)


def merges_of(model: nn.Module) -> list[RowMerge]:
    """The `weight_merges` of the model and of every model inside it."""
    return list(dict.fromkeys(merge for module in model.modules() for merge in getattr(module, "weight_merges", ())))


def without_merges(conversions: Iterable[Any]) -> list[Any]:
    """Those of `conversions` that `merge_converters` did not make."""
    return [
        conversion
        for conversion in conversions
        if not any(isinstance(operation, MergeRows) for operation in getattr(conversion, "operations", ()))
    ]


def merge_converters(model: nn.Module) -> list[WeightConverter]:
    """The converters that load an original checkpoint into `model`; reversed, they save it."""
    patterns: dict[tuple[RowMerge, str], None] = {}
    for merge in merges_of(model):
        for path, owner in merge.owners(model):
            leaf = path.rpartition(".")[2]
            prefix = "" if leaf.isdigit() or not leaf else f"{leaf}."  # `self_attn.`: other modules may have a q_proj
            for kind, _ in owner.get_submodule(merge.name).named_parameters():
                patterns[merge, f"{prefix}{{}}.{kind}"] = None
    return [
        WeightConverter(
            [pattern.format(part) for part in merge.parts], pattern.format(merge.name), operations=[MergeRows(merge)]
        )
        for merge, pattern in patterns
    ]


def merged_state_dict(
    model: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str = ""
) -> dict[str, torch.Tensor]:
    """`state_dict` with the original parts joined to the rows `model` has; keys it has already stay as they are.

    `prefix`: where `model` stands in the module that the state dict is of, with a dot at its end.
    """
    merged = dict(state_dict)
    for merge in merges_of(model):
        for path, owner in merge.owners(model):
            place = f"{prefix}{path}." if path else prefix
            for kind, _ in owner.get_submodule(merge.name).named_parameters():
                parts = [f"{place}{part}.{kind}" for part in merge.parts]
                if all(part in merged for part in parts):
                    merged[f"{place}{merge.name}.{kind}"] = torch.cat([merged.pop(part) for part in parts], dim=0)
    return merged
