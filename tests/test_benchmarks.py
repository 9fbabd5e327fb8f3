"""The benchmarks run and print their figures; the figures themselves are no test."""

import importlib.util
import sys
from pathlib import Path

import pytest

from porter.bench.generation import Shape
from porter.runtime import products

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark():
    def load(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_conversion(benchmark, monkeypatch, capsys):
    module = benchmark("conversion")
    monkeypatch.setattr(sys, "argv", ["conversion.py", "--runs", "1"])
    assert module.main() in (0, 1)  # 1 is a ratio over the limit, on a busy machine
    out = capsys.readouterr().out
    assert "ratio, run by run: " in out and "LibCST parse and print" in out


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
