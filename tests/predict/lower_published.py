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
from porter.predict.asked import ask
from porter.predict.kernels import Kernel
from porter.predict.predict import asked_of
from porter.predict.steps import kernels_by_phase
from porter.predict.workload import Workload
from porter.source import load_source
from porter.verify.port import open_port

HERE = Path(__file__).parent
NORMS = ("add_norm", "add_norm_across", "norm_rms", "norm_rms_residual")
WITHOUT = {"attention": (*NORMS, "merge_qkv", "swiglu"), "norm": ("merge_qkv", "swiglu"), "qkv": ("swiglu",)}
PORT_OF = {"last": "norm", "fused": "qkv", "original": "qkv", "static": "qkv"}
ALL_LOGITS = ("original", "static", "attention", "norm")


def main():
    published = json.loads((HERE / "published.json").read_text())
    with tempfile.TemporaryDirectory(prefix="porter-published-") as name:
        ports = {(family, step): Path(name) / step / family for family in ("llama", "qwen2") for step in WITHOUT}
        write_ports(ports)
        asked = [asked_of_row(row, published, ports) for row in published["rows"]]
        answers = ask(asked, "Ascend910B4", lambda *step: print(*step, flush=True))
    assert not isinstance(answers, Refused), answers
    made = [kernels_of_row(row, answer) for row, answer in zip(published["rows"], answers, strict=True)]
    lines = [json.dumps({phase: listed(kernels) for phase, kernels in each.items()}) for each in made]
    (HERE / "kernels.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def write_ports(ports):
    """`ports`: (family, step) -> folder."""
    for (family, step), folder in ports.items():
        ported = convert(load_source(f"transformers.models.{family}"), name=family, without=WITHOUT[step])
        assert not isinstance(ported, Refused), ported
        emit(ported, folder)


def asked_of_row(row, published, ports):
    model = published["models"][row["model"]]
    port = open_port(ports[model["family"], PORT_OF.get(row["step"], row["step"])])
    workload = workload_of(row, published["input"], published["output"])
    kind = "source" if row["step"] in ("original", "static") else "port"
    return asked_of(port, workload, model["config"] | {"dtype": model["dtype"]}, kind) | {
        "called": f"{row['model']}, batch {row['batch']}, {row['step']}",
        "last": row["step"] not in ALL_LOGITS,
        "context": workload.slots,
    }


def workload_of(row, tokens=1024, answer=1024):
    return Workload(row["batch"], tokens, answer // 2, row["cards"])


def kernels_of_row(row, answer):
    assert not answer["failure"], (row, answer["failure"])
    made = kernels_by_phase(answer, workload_of(row), fused=row["step"] == "fused")
    if row["step"] == "static":
        made["decode"] = written_in_place(made["decode"])
    return made


def written_in_place(kernels):
    """What a step costs where its cache is not made anew."""
    made = Counter()
    for kernel, count in kernels.items():
        is_cache = kernel.kind == "ConcatV2" and kernel.bytes > 1_000_000
        made[Kernel("Scatter") if is_cache else kernel] += count
    return made


def listed(kernels):
    rows = [[each.kind, each.bytes, each.flops, each.summed, count] for each, count in kernels.items()]
    return sorted(rows)


if __name__ == "__main__":
    main()
