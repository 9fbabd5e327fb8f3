"""The tables of the README and the pages that are made from records and contracts, found again by their header.

    python tests/pages/tables.py        # writes each of them again

A table is the lines from its header to the next line that is not a row. A test compares them with what is made here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.npu.chip import CHIPS
from porter.release.tested import tested_stacks
from tests.pages.blocks import ROOT
from tests.pages.limits import LIMITS
from tests.pages.op_calls import BF16, CALLS, F16, F32, refusal

Row = tuple[str, ...]
PAGES = ROOT / "porter" / "pages"
ROWS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "ports" / "matrix.json").read_text())["rows"]
LOWERED = (  # of those that are recorded as lowered, in the order of a reader's interest
    *("llama", "qwen2", "mistral", "qwen3", "gemma3", "phi3", "olmo3", "gpt2", "bloom"),
    *("mixtral", "qwen3_moe", "glm4_moe", "gpt_oss", "deepseek_v3"),
)
WHOLE = ("ported", "verdict")


@dataclass(frozen=True)
class Table:
    file: Path
    header: str
    rows: Callable[[], Iterator[Row]]

    @property
    def lines(self) -> list[str]:
        columns = self.header.count("|") - 1
        return [self.header, "|" + "---|" * columns, *(f"| {' | '.join(row)} |" for row in self.rows())]


def kernels(row: dict[str, Any], phase: str) -> str:
    """Of a layer, source -> port; an op in the place of a number is what stops the source."""
    lowering = row["lowering"]
    before = lowering["kernels"][phase]["source"] or f"`{lowering['unconverted'][f'source {phase}']}`"
    return f"{before} -> {lowering['kernels'][phase]['port']}"


def sites(row: dict[str, Any]) -> tuple[int, int]:
    """How many sites are whole, and how many there are."""
    counts = [count for kind in row["sites"].values() for count in kind.items()]
    return sum(number for status, number in counts if status in WHOLE), sum(number for _, number in counts)


def lowered_models() -> Iterator[Row]:
    by_name = {row["model"]: row for row in ROWS}
    for name in LOWERED:
        done, there = sites(by_name[name])
        yield name, f"{done} of {there}", kernels(by_name[name], "prefill"), kernels(by_name[name], "decode")


def every_model() -> Iterator[Row]:
    for row in ROWS:
        name = row["model"]
        if row["outcome"] == "refused":
            yield name, f"refused, {row['refusal']['code']}", "", "", ""
            continue
        done, there = sites(row)
        phases = [kernels(row, phase) if "lowering" in row else "" for phase in ("prefill", "decode")]
        yield name, "whole" if row["whole"] else "converted", f"{done} of {there}", *phases


def kernels_of_whole_models() -> Iterator[Row]:
    """Of decode; what stands beside fused ops and products with the line that asks for it."""
    for row in ROWS:
        if not row["whole"]:
            continue
        lowering = row["lowering"]
        there, beside = lowering["kernels"]["decode"]["port"], lowering["beside"]["decode"]
        implied = there - sum(sum(kinds.values()) for kinds in beside.values())
        lines = [f"{listed(kinds)}: `{code}`".replace("|", "\\|") for code, kinds in beside.items()]
        yield row["model"], str(there), str(implied), "; ".join(lines)


def listed(kinds: dict[str, int]) -> str:
    return ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())


def releases() -> Iterator[Row]:
    for row in tested_stacks():
        library = "{converted} of {files}, {whole}".format(**row.library) if row.library else "-"
        rules = str(row.library["rules"]) if row.library else "-"
        yield row.torch, row.transformers, f"{row.whole} of {len(row.ports)}", str(row.passed), library, rules


def dtypes_of_chips() -> Iterator[Row]:
    short = {F16: "fp16", BF16: "bf16", F32: "fp32"}
    for op, call in CALLS.items():
        taken = [[name for dtype, name in short.items() if not refused(call, dtype, chip)] for chip in CHIPS]
        yield f"`{op}`", *(", ".join(names) or "-" for names in taken)


def refused(call: Callable[..., Any], dtype: Any, chip: str) -> bool:
    return refusal(lambda: call(dtype=dtype), chip) is not None


def limits_of_ops() -> Iterator[Row]:
    for limit in LIMITS:
        yield f"`{limit.op}`", f"`{limit.argument}`", limit.said, ", ".join(limit.chips)


TABLES = (
    Table(ROOT / "README.md", "| model | sites | kernels in prefill | kernels in decode |", lowered_models),
    Table(PAGES / "zh.md", "| 模型 | 位置 | prefill 的 kernel 数 | decode 的 kernel 数 |", lowered_models),
    Table(PAGES / "models.md", "| model | outcome | sites | prefill | decode |", every_model),
    Table(
        PAGES / "kernels.md",
        "| model | kernels | ops, products | beside them, and the line that asks |",
        kernels_of_whole_models,
    ),
    Table(
        PAGES / "versions.md",
        "| torch | transformers | ports whole | checks passed | files converted, whole | by rules |",
        releases,
    ),
    Table(PAGES / "ops.md", f"| op | {' | '.join(CHIPS)} |", dtypes_of_chips),
    Table(PAGES / "ops.md", "| op | argument | limit | on |", limits_of_ops),
)


def found(table: Table, text: str) -> tuple[int, int]:
    """Where its lines begin and end in the lines of a text. Raises ValueError where it is not there."""
    lines = text.split("\n")
    begin = lines.index(table.header)
    end = next(number for number in range(begin, len(lines) + 1) if not "".join(lines[number : number + 1]))
    return begin, end


def main() -> None:
    for table in TABLES:
        text = table.file.read_text(encoding="utf-8")
        lines, (begin, end) = text.split("\n"), found(table, text)
        table.file.write_text("\n".join([*lines[:begin], *table.lines, *lines[end:]]), encoding="utf-8")


if __name__ == "__main__":
    main()
