"""Lowers every published row at its sizes and writes kernels.json beside this file.

    python -m tests.predict.lower_published

A row's step of optimisation is a port without the rules of the later steps, or the source. Where the published port
passes lengths, a decode step reads what is in its cache, half of the answer on the average; here it reads all slots, so
it has as many as that. A growing cache holds as much. The static cache of the second step is the growing one without
its concatenations, which a write in place stands for: no converter takes the source with a static cache.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.predict.kernels import Kernel
from porter.predict.predict import kernels_by_phase
from porter.predict.process import ask
from porter.predict.workload import Workload
from porter.source import load_source

HERE = Path(__file__).parent
NORMS = ("add_norm", "add_norm_across", "norm_rms", "norm_rms_residual")
WITHOUT = {"attention": (*NORMS, "merge_qkv", "swiglu"), "norm": ("merge_qkv", "swiglu"), "qkv": ("swiglu",)}
PORT_OF = {"last": "norm", "fused": "qkv", "original": "qkv", "static": "qkv"}
ALL_LOGITS = ("original", "static", "attention", "norm")


def main():
    published = json.loads((HERE / "published.json").read_text())
    with tempfile.TemporaryDirectory(prefix="porter-published-") as name:
        ports = {}
        for family in ("llama", "qwen2"):
            for step, without in WITHOUT.items():
                ports[family, step] = Path(name) / step / family
                ported = convert(load_source(f"transformers.models.{family}"), name=family, without=without)
                assert not isinstance(ported, Refused), ported
                emit(ported, ports[family, step])
        asked = [asked_of(row, published, ports) for row in published["rows"]]
        answers = ask(asked, "Ascend910B3", lambda *step: print(*step, flush=True))
    assert not isinstance(answers, Refused), answers
    lines = []
    for row, one, answer in zip(published["rows"], asked, answers, strict=True):
        assert not answer["failure"], (row, answer["failure"])
        workload = Workload(one["batch"], one["input"], one["output"], one["tp"])
        made = kernels_by_phase(answer, workload, fused=row["step"] == "fused")
        if row["step"] == "static":
            made["decode"] = written_in_place(made["decode"])
        lines.append(json.dumps({phase: listed(kernels) for phase, kernels in made.items()}))
    (HERE / "kernels.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def asked_of(row, published, ports):
    model = published["models"][row["model"]]
    is_source = row["step"] in ("original", "static")
    half = published["output"] // 2
    return {
        "called": f"{row['model']}, batch {row['batch']}, {row['step']}",
        "directory": str(ports[model["family"], PORT_OF.get(row["step"], row["step"])].resolve()),
        "model": "source" if is_source else "port",
        "config": model["config"],
        "dtype": model["dtype"],
        "batch": row["batch"],
        "tp": row["cards"],
        "input": published["input"],
        "output": half,
        "context": published["input"] + half,
        "last": row["step"] not in ALL_LOGITS,
    }


def written_in_place(kernels):
    """What a step costs where its cache is not made anew."""
    made = Counter()
    for kernel, count in kernels.items():
        is_cache = kernel.kind == "ConcatV2" and kernel.bytes > 1_000_000
        made[Kernel("Scatter") if is_cache else kernel] += count
    return made


def listed(kernels):
    rows = ([each.kind, each.bytes, each.flops, each.summed, count] for each, count in kernels.items())
    return sorted(rows)


if __name__ == "__main__":
    main()
