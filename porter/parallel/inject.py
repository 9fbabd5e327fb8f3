"""A loaded port cut over the ranks, by DeepSpeed's `init_inference` and the injection policy of the registry.

Contract: every rank loads the same whole model and calls `shard` with the same arguments; what comes back computes on
every rank what the whole model does, with a rank's share of the heads, the MLP, the experts, the LM head and the KV
cache; of latent attention the cache is whole. What attention, MLPs and experts give is summed over the ranks, biases
added once. Checkpoints stay as they are. What neither the policy and the configuration's own plan nor the port's
`weight_splits` know how to cut is refused before anything is changed. Run here on CPUs over gloo; not run on an NPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import distributed

from porter.parallel.cut import cut_weights, out_of_sight
from porter.parallel.divide import NO_SPLIT_POINTS, CannotShard, check_divides
from porter.parallel.launch import import_deepspeed
from porter.parallel.layers import Layer, Layers, layers_to_split
from porter.parallel.rows import keep_own_sizes, order_by_rank
from porter.runtime.adapters import has_adapters
from porter.runtime.parts import is_apart, put_together
from porter.runtime.registry import UnknownModel, injection_policy, registered

Policy = tuple[str, str, Sequence[str]]  # module, layer class, row-parallel outputs: an entry of the registry


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
    _check_adapters(model)
    _check_model(model)
    layers = check_splits(model, policy, world_size, models=models)
    if world_size != present:
        raise RuntimeError(f"{world_size} ranks are wanted, the process group has {present}: call init_ranks first")

    rank = distributed.get_rank()
    cut_weights(layers.each, rank, world_size)
    order_by_rank(layers.merges, world_size)
    wanted = [_wanted(layer, rank, world_size) for layer in layers.each]
    with out_of_sight(linear for layer in layers.each for linear in layer.own_linears.values()):
        model = _inject(model, _policy_of(layers), world_size)
    keep_own_sizes(layers.merges, world_size)
    for layer, parts in zip(layers.each, wanted, strict=True):
        _check_cut(layer, parts)
    _sum_over_ranks(layers, fused_all_reduce)
    model.save_pretrained = _cannot_save
    return model


def check_splits(model: Any, policy: str | Policy, world_size: int, *, models: Path | str | None = None) -> Layers:
    """The layers that `shard` would cut, found without a process group; `model` may be on the meta device.

    Raises CannotShard as `shard` does, and for a registered port without a policy; UnknownModel for an unknown name.
    """
    if not isinstance(policy, str):
        _, layer_class, outputs = policy
        return layers_to_split(model, layer_class, outputs, world_size)
    try:
        _, layer_class, outputs = injection_policy(policy, models)
    except UnknownModel:
        if policy in registered(models):
            raise CannotShard(NO_SPLIT_POINTS) from None
        raise
    return layers_to_split(model, layer_class, outputs, world_size)


def _policy_of(layers: Layers) -> dict[type, tuple[str, ...]]:
    """What DeepSpeed wants to know: the linears to sum, by the last two names of their paths."""
    linears = (output for layer in layers.each for output in layer.outputs if output in layer.linears)
    names = tuple(dict.fromkeys(".".join(output.split(".")[-2:]) for output in linears))
    return {type(layer.module): names for layer in layers.each}


def _sum_over_ranks(layers: Layers, fused_all_reduce: bool) -> None:
    experts = [module for layer in layers.each for module in layer.experts]
    if experts:
        from porter.parallel.summed import sum_outputs  # imports DeepSpeed

        sum_outputs(experts)
    if fused_all_reduce:
        from porter.parallel.fused import fuse_all_reduce  # imports DeepSpeed

        wanted = sum(len(layer.outputs) - len(layer.experts) for layer in layers.each)
        fused = fuse_all_reduce(layer.module for layer in layers.each)
        assert fused == wanted, f"{fused} row-parallel layers, the policy names {wanted}"


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


def _wanted(layer: Layer, rank: int, world_size: int) -> dict[str, tuple[torch.Size, torch.Tensor]]:
    """Of the linears that DeepSpeed is to cut: the shape of this rank's part, and its first row or column."""
    wanted = {}
    for path in layer.linears.keys() - layer.own_linears.keys():
        dimension = 1 if path in layer.outputs else 0
        part = layer.linears[path].weight.data.chunk(world_size, dimension)[rank]
        wanted[path] = part.shape, part.select(1 - dimension, 0).clone()
    return wanted


def _check_cut(layer: Layer, wanted: dict[str, tuple[torch.Size, torch.Tensor]]) -> None:
    """RuntimeError where DeepSpeed has cut a linear in another way than the rows were ordered for."""
    for path, (shape, edge) in wanted.items():
        weight = layer.module.get_submodule(path).weight.data
        dimension = 1 if path in layer.outputs else 0
        if weight.shape != shape or not torch.equal(weight.select(1 - dimension, 0).cpu(), edge.cpu()):
            found = tuple(weight.shape)
            raise RuntimeError(f"DeepSpeed cut `{path}` to another {found} than the part {tuple(shape)} that is wanted")


def _cannot_save(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("this model holds one rank's part of the weights: save it before it is sharded")
