"""A loaded port cut over the ranks, by DeepSpeed's `init_inference` and the injection policy of the registry.

Contract: every rank loads the same whole model and calls `shard` with the same arguments; what comes back computes on
every rank what the whole model does, with a rank's share of the heads, the MLP, the LM head and the KV cache.
Attention outputs and MLP outputs are summed over the ranks, their bias added once, after the sum. Checkpoints stay as
they are. What the policy and the configuration's own plan do not both know how to cut is refused before anything is
changed. Run here on CPUs over gloo; not run on an NPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import distributed, nn

from porter.parallel.divide import CannotShard, check_divides
from porter.parallel.launch import import_deepspeed
from porter.parallel.rows import check_merges, keep_own_sizes, merges_in, order_by_rank
from porter.runtime.adapters import has_adapters
from porter.runtime.parts import is_apart, put_together
from porter.runtime.registry import injection_policy

Policy = tuple[str, str, Sequence[str]]  # module, layer class, row-parallel outputs: an entry of the registry
_COLUMN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # cut by rows where the configuration has no plan
# DeepSpeed guesses a layout of parts for linears of these names, from the name of the layer's class
_GUESSED = ("qkv_proj", "query_key_value", "Wqkv", "W_pack", "c_attn", "gate_up_proj", "dense_h_to_4h")
_PLANNED = ("colwise", "rowwise", "replicated_with_grad_allreduce")


def shard(
    model: Any,
    policy: str | Policy,
    world_size: int | None = None,
    *,
    fused_all_reduce: bool = False,
    models: Path | str | None = None,
) -> Any:
    """Cut `model`, loaded and on the host, over `world_size` ranks, in place; returns it on this rank's device.

    `policy`: a name in the registry (`models`: its folder), or an entry of it. `world_size` is that of the process
    group, which `launch_from_environment` or `init_ranks` made; 1 gives the model back as it is. `fused_all_reduce`:
    prefill by npu_mm_all_reduce_base, where the documentation allows 1, 2, 4 or 8 cards of an A2 and float16 or
    bfloat16; steps of one token stay as they are.
    Raises CannotShard, before anything is changed, for heads that do not divide and for layers whose split nobody has
    shown to be right; RuntimeError without a process group of `world_size`. Afterwards `save_pretrained` is an error.
    """
    present = distributed.get_world_size() if distributed.is_initialized() else 1
    world_size = present if world_size is None else world_size
    check_divides(model.config, world_size, fused_all_reduce=fused_all_reduce)
    if world_size == present == 1:
        return model
    _, layer_class, outputs = injection_policy(policy, models) if isinstance(policy, str) else policy
    _check_adapters(model)
    layers = [module for module in model.modules() if type(module).__name__ == layer_class]
    owned = list(merges_in(model, layers))
    _check_model(model)
    check_layers(model.config, layers, layer_class, outputs, {merge.name: merge.parts for merge, _ in owned})
    check_merges(owned, world_size)
    if world_size != present:
        raise RuntimeError(f"{world_size} ranks are wanted, the process group has {present}: call init_ranks first")
    whole = [_shapes(layer) for layer in layers]

    order_by_rank(owned, world_size)
    model = _inject(model, {type(layer): tuple(outputs) for layer in layers}, world_size)
    keep_own_sizes(owned, world_size)
    for layer, shapes in zip(layers, whole, strict=True):
        _check_cut(layer, shapes, outputs, world_size)
    if fused_all_reduce:
        from porter.parallel.fused import fuse_all_reduce  # imports DeepSpeed

        fused = fuse_all_reduce(model)
        assert fused == len(layers) * len(outputs), f"{fused} row-parallel layers, policy: {len(layers)} x {outputs}"
    model.save_pretrained = _cannot_save
    return model


class _WholeWorld:
    """What DeepSpeed asks a `mpu` for: all ranks are one tensor-parallel group."""

    def get_model_parallel_group(self) -> Any:
        return distributed.group.WORLD


def _inject(model: Any, policy: dict[type, tuple[str, ...]], world_size: int) -> Any:
    deepspeed = import_deepspeed("npu" if distributed.get_backend() == "hccl" else "cpu")
    buffers = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
    engine = deepspeed.init_inference(
        model,
        tensor_parallel={
            "tp_size": world_size,
            "tp_group": distributed.group.WORLD,  # DeepSpeed's own group would wait 30 minutes for a lost peer
            "mpu": _WholeWorld(),
            "tp_grain_size": 1,  # in grains of 64, down_proj is cut unlike gate_up: Llama-2-7B on 8 ranks, 172 grains
        },
        dtype=model.dtype,
        injection_policy=policy,
        replace_with_kernel_inject=False,
    )
    for module, name, buffer in buffers:  # it has cast them too: rotary frequencies in bfloat16 are other angles
        if buffer is not None:
            module._buffers[name] = buffer.to(engine.module.device)
    return engine.module


def _check_adapters(model: Any) -> None:
    if has_adapters(model):
        raise CannotShard("the model has adapters, which are not split over ranks: merge them into the weights first")
    put_together(model)
    if is_apart(model):
        raise CannotShard("a merged projection is apart, and its parts are no plain linears: load the model again")


def _check_model(model: Any) -> None:
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if len(dtypes) != 1:
        listed = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise CannotShard(f"the weights are of {listed}: DeepSpeed casts all to one dtype, load them in one")


def check_layers(
    config: Any, layers: list[nn.Module], layer_class: str, outputs: Sequence[str], merges: dict[str, tuple[str, ...]]
) -> None:
    """Every linear of every layer is an output of the policy, or known to be cut by rows; nothing else is cut."""
    if not layers:
        raise CannotShard(f"the model has no {layer_class}, which its injection policy names")
    plan = _layer_plan(config)
    for path, style in plan.items():
        if style not in _PLANNED:
            raise CannotShard(f"the configuration's plan has {style!r} for `{path}`: that split is not done here")
    for index, layer in enumerate(layers):
        place = f"{layer_class} {index}"
        linears = {path for path, module in layer.named_modules() if isinstance(module, nn.Linear)}
        for output in outputs:
            if output not in linears:
                raise CannotShard(f"{place} has no linear `{output}`, which the injection policy names")
        for path in linears - set(outputs):
            owner, _, name = path.rpartition(".")
            if name in _GUESSED:
                raise CannotShard(f"{place}: DeepSpeed guesses the parts of a linear called `{name}`, and may be wrong")
            for part in merges.get(name, (name,)):
                planned = plan.get(f"{owner}.{part}" if owner else part)
                if planned != "colwise" and (plan or part not in _COLUMN):
                    raise CannotShard(f"{place}: nothing says how to split `{path}` over ranks")
        cut = {output.rpartition(".")[0] for output in outputs}
        for path, parameter in layer.named_parameters():
            if parameter.dim() > 2:
                raise CannotShard(f"{place}: `{path}` is {tuple(parameter.shape)}; experts are not split over ranks")
            if path.rpartition(".")[0] in cut:  # a number for each head or channel, and this rank has a part of them
                raise CannotShard(f"{place}: nothing says how to split `{path}` over ranks")


def _layer_plan(config: Any) -> dict[str, str]:
    """`self_attn.q_proj` -> `colwise`: the layers' part of the configuration's own tensor-parallel plan."""
    plan = getattr(config.get_text_config(decoder=True), "base_model_tp_plan", None) or {}
    return {path.partition("layers.*.")[2]: style for path, style in plan.items() if "layers.*." in path}


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    return {path: module.weight.shape for path, module in layer.named_modules() if isinstance(module, nn.Linear)}


def _check_cut(layer: nn.Module, whole: dict[str, torch.Size], outputs: Sequence[str], world_size: int) -> None:
    """RuntimeError where DeepSpeed has cut a linear in another way than the rows were ordered for."""
    for path, (rows, columns) in whole.items():
        wanted = (rows, columns // world_size) if path in outputs else (rows // world_size, columns)
        found = tuple(layer.get_submodule(path).weight.shape)
        if found != wanted:
            raise RuntimeError(f"DeepSpeed cut `{path}` {(rows, columns)} to {found}, not to {wanted}")


def _cannot_save(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("this model holds one rank's part of the weights: save it before it is sharded")
