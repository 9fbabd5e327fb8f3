"""The benchmarks run and print their figures; the figures themselves are no test."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from porter.bench.generation import Shape
from porter.convert import convert
from porter.runtime import products

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"


@pytest.fixture
def benchmark():
    def load(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_conversion(benchmark, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = benchmark("conversion")
    models = tuple(f"transformers.models.{name}" for name in ("mistral", "whisper", "llama"))
    monkeypatch.setattr(module, "causal_modules", lambda: models)  # whisper has the most lines, and is refused
    monkeypatch.setattr(module, "REFUSED", models[1])
    monkeypatch.setattr(sys, "argv", ["conversion.py", "--runs", "1", "--growth", "20,40"])
    assert module.main() in (0, 1)  # 1 is a figure over its limit, on a busy machine
    _, stages, wholes, sizes, growth, *_ = (part.split("\n") for part in capsys.readouterr().out.split("\n\n"))
    assert [len(rows) for rows in (stages, wholes, sizes, growth)] == [16, 9, 5, 3]
    assert wholes[4].startswith("largest that is converted: llama,") and wholes[5].startswith("refused with P")
    for heading, *rows in (stages, wholes, sizes, growth):
        figures = [re.findall(r"(?<= )[\d,.]*\d(?= |$)", row) for row in rows]
        assert "least .. greatest" in heading and all(len(found) >= 6 for found in figures)
        assert all(float(figure.replace(",", "")) > 0 for found in figures for figure in found)


def test_the_stages_of_the_benchmark_are_those_of_a_conversion(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from stages import Stages

    from tests.engine.sources import source_of

    stages = Stages("transformers.models.llama")
    stages()
    assert stages.ported == convert(source_of("llama"), name="bench")


def test_merged_product(benchmark, monkeypatch, capsys):
    module = benchmark("merged_product")
    monkeypatch.setattr(module, "WIDTHS", ((32, 48),))
    monkeypatch.setattr(module, "WORK", {1: 1e4, 4: 1e4})
    monkeypatch.setattr(products, "ROWS", 16)
    monkeypatch.setattr(products, "_LARGE", 1024)
    monkeypatch.setattr(sys, "argv", ["merged_product.py", "--rounds", "1"])
    module.main()
    whats = [line.split()[4] for line in capsys.readouterr().out.splitlines()]
    assert whats == ["what", *["merged", "blocks", "MLP"] * 2, *["merged", "MLP"] * 2]


def test_prefill_parts(benchmark, monkeypatch, capsys):
    module = benchmark("prefill_parts")
    monkeypatch.setattr(module, "SHAPES", (Shape("a toy", 64, 2, 4, 2, prompt=8, steps=2),))
    monkeypatch.setattr(sys, "argv", ["prefill_parts.py", "--rounds", "2"])
    asked = []
    for name in ("apart", "source_s_rotary", "source_s_swiglu"):
        used = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *of, name=name, used=used: asked.append(name) or used(*of))
    module.main()
    assert [line.split("  ")[1].strip() for line in capsys.readouterr().out.splitlines()] == [
        "port", "gate and up apart", "source's rounding", "both",
    ]  # fmt: skip
    assert set(asked) == {"apart", "source_s_rotary", "source_s_swiglu"}


def test_latent_decode(benchmark, monkeypatch, capsys):
    module = benchmark("latent_decode")
    monkeypatch.setattr(module, "STEPS", 2)
    module.main([8, 16])
    printed = capsys.readouterr().out.splitlines()
    heading = "bytes a token and layer, float32: cache 2304, expanded 20480"
    rows = printed[printed.index(heading) + 2 :]
    assert [int(row.split()[0]) for row in rows] == [8, 16] and all(float(row.split()[-1]) > 0 for row in rows)


def test_moe_decode(benchmark, monkeypatch, capsys):
    module = benchmark("moe_decode")
    monkeypatch.setattr(module, "MODELS", {"mixtral": {"num_local_experts": 4, "intermediate_size": 32}})
    options = {"--modes": "eager", "--batches": "2", "--rounds": "2", "--steps": "2"}
    monkeypatch.setattr(sys, "argv", ["moe_decode.py", *(part for pair in options.items() for part in pair)])
    assert module.main() in (0, 1)  # 1 is a figure over its limit
    _, *rows, verdict = capsys.readouterr().out.splitlines()
    assert [row.split()[:4] for row in rows] == [["mixtral", kind, "2", "eager"] for kind in ("float32", "bfloat16")]
    assert all(set(module.DISPATCHES) <= set(row.split()) for row in rows) and verdict.startswith("slower than")
