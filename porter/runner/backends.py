"""What compiles the steps: TorchAir on an NPU, inductor where a C++ compiler is, else the captured graph as it is.

Contract: a backend is chosen by name or by what the machine has, never by an environment variable. A name the machine
cannot serve is CannotRun, before any weight is read. Every backend writes the KV cache in place.

TorchAir's part follows the public interface of torch_npu 2.13 and has not been run on an NPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import nearest
from porter.runner.lengths import WITH_LENGTHS, pass_lengths
from porter.runner.refusal import CannotRun

ON_NPU = ("max-autotune", "npugraph_ex")
ELSEWHERE = ("inductor", "aot_eager", "eager")
Backend = str | Callable[..., Any]


def choose_backend(wanted: Backend | None, device: torch.device) -> Backend:
    """`wanted` if it can serve `device`, else CannotRun (P086); None is the first that can."""
    if wanted is None:
        if device.type == "npu":
            return ON_NPU[0]
        return "inductor" if inductor_serves(device) else "eager"
    if callable(wanted):
        return wanted
    if wanted not in ON_NPU + ELSEWHERE:
        close = nearest(wanted, ON_NPU + ELSEWHERE)
        help = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(ON_NPU + ELSEWHERE)}"
        raise CannotRun("P086", f"no backend `{wanted}`", help)
    if (wanted in ON_NPU) != (device.type == "npu"):
        fitting = ON_NPU if device.type == "npu" else ELSEWHERE
        help = f"leave the backend out, or choose {' or '.join(fitting)}"
        raise CannotRun("P086", f"backend `{wanted}` does not compile for device `{device}`", help)
    if wanted == "inductor" and not inductor_serves(device):
        needed, missing = ("triton", "triton") if has_cpp_compiler() else ("a C++ compiler", "g++")
        raise CannotRun("P086", f"backend `inductor` needs {needed}", f"install {missing}, or choose `eager`")
    return wanted


def inductor_serves(device: torch.device) -> bool:
    """For the CPU it builds with $CXX, g++ or clang++, for CUDA with triton, which needs a compiler too."""
    return has_cpp_compiler() and (device.type == "cpu" or importlib.util.find_spec("triton") is not None)


def has_cpp_compiler() -> bool:
    """Inductor takes $CXX, g++ or clang++, and builds with it for the CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++"))


def compile_step(step: types.MethodType, backend: Backend, *, dynamic: bool, cache_folder: Path | None) -> Any:
    """The step, compiled as one graph at its first call. `dynamic`: sizes that are marked dynamic stay so.

    cache_folder: where TorchAir keeps compiled graphs from one process to the next; other backends do not use it.
    """
    if backend in ON_NPU:
        return _compile_with_torchair(step, str(backend), dynamic, cache_folder)
    # The model does not change between steps: without guards on its modules a step starts sooner.
    options = {"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe}
    compiler = _inductor if backend == "inductor" else backend
    return torch.compile(step, fullgraph=True, dynamic=None if dynamic else False, backend=compiler, options=options)


def _inductor(graph: torch.fx.GraphModule, inputs: Any, **options: Any) -> Any:
    """Inductor that sees through the NPU ops, so that it fuses them and writes the KV cache in place."""
    import torch._functorch.config as functorch
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    from porter.npu.decompositions import decompositions

    # a cached graph of this model may have been made without these decompositions: its key does not say
    with functorch.patch(enable_autograd_cache=False):
        # rounded where the eager ops round: 16-bit tokens stay those of generate()
        patches = {"emulate_precision_casts": True}
        table = {**select_decomp_table(), **decompositions()}
        return compile_fx(graph, inputs, config_patches=patches, decompositions=table)


def _takes_lengths() -> bool:
    """Whether this TorchAir has an attention that takes lengths as a tensor; without it the mask says what is read."""
    try:
        return importlib.util.find_spec(WITH_LENGTHS) is not None
    except ModuleNotFoundError:
        return False


def _compile_with_torchair(step: types.MethodType, mode: str, dynamic: bool, cache_folder: Path | None) -> Any:
    """Frozen parameters: the weights stay where they are, so a graph may keep their addresses."""
    from porter.npu.on_npu import graph_decompositions

    # both come with torch_npu, which the model's file has imported
    torchair = importlib.import_module("npugraph_ex" if mode == "npugraph_ex" else "torchair")
    config = torchair.CompilerConfig()
    config.mode = mode
    where = config if mode == "npugraph_ex" else config.experimental_config
    where.frozen_parameter = True
    if mode == "max-autotune" and _takes_lengths():
        config.post_grad_custom_pre_pass = pass_lengths
        where.tiling_schedule_optimize = True  # the lengths lie on the device: so is what is planned by them
    options = {"custom_decompositions": graph_decompositions()}
    if cache_folder is not None:
        folder = str(cache_folder)
        return torchair.inference.cache_compile(step, config=config, dynamic=dynamic, cache_dir=folder, **options)
    backend = torchair.get_npu_backend(compiler_config=config, **options)
    return torch.compile(step, fullgraph=True, dynamic=dynamic, backend=backend)
