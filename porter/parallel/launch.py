"""From a launcher's environment to one process group: who this process is, and which device it drives.

    deepspeed --num_gpus=8 generated_models/llama2/run_llama2.py --model_path=CHECKPOINT      # 8 NPUs, one process each
    torchrun --nproc-per-node=8 generated_models/llama2/run_llama2.py --model_path=CHECKPOINT  # the same

Both set RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Off the device the same lines start processes that
talk by gloo; only that has been run here: HCCL and NPUs have not.
Contract: nothing of the environment is read but those names, and DS_ACCELERATOR, which is set for DeepSpeed before it
is imported. Without a launcher there is one rank, no process group, and DeepSpeed is not needed.
"""

from __future__ import annotations

import datetime
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_BACKENDS = {"npu": "hccl", "cpu": "gloo"}
_TIMEOUT = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """This process among its peers. `device` is its own card; rank 0 speaks for all."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def parallel(self) -> bool:
        return self.world_size > 1


def launch_from_environment(
    device: str | None = None, *, timeout: datetime.timedelta = _TIMEOUT, environment: Mapping[str, str] = os.environ
) -> Ranks:
    """Join the processes that `deepspeed` or `torchrun` started; alone, without them.

    `device`: `npu` or `cpu`; None is an NPU where there is one, else the CPU. `timeout` bounds every wait for a peer.
    Raises ValueError where the environment is incomplete or contradicts itself, and what `init_ranks` raises.
    """
    kind = device or _present()
    if not environment.get("WORLD_SIZE"):
        return Ranks(0, 0, 1, torch.device(kind))
    rank, local_rank, world_size = (_number(environment, name) for name in _PLACE)
    if world_size > 1:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not environment.get(name):
                raise ValueError(f"WORLD_SIZE is {world_size} but {name} is not set: start by deepspeed or torchrun")
    return init_ranks(rank, local_rank, world_size, kind, timeout=timeout)


def init_ranks(
    rank: int,
    local_rank: int,
    world_size: int,
    device: str,
    *,
    timeout: datetime.timedelta = _TIMEOUT,
    init_method: str = "env://",
) -> Ranks:
    """Make the process group of all ranks, HCCL on `npu` and gloo on `cpu`, and tell DeepSpeed of it.

    `init_method` as in torch.distributed: `env://`, or `file://PATH` where no port is to be opened. A process group
    that exists already is used as it is. Raises ValueError for a rank outside the world, a device without a backend or
    a card that is not there; RuntimeError where DeepSpeed is missing or was imported for another accelerator.
    """
    kind = torch.device(device).type
    if not 0 <= rank < world_size or not 0 <= local_rank < world_size:
        raise ValueError(f"rank {rank} (local {local_rank}) is not one of {world_size}")
    if kind not in _BACKENDS:
        raise ValueError(f"tensor parallelism runs on {' and '.join(_BACKENDS)}, not on {kind}")
    if kind == "npu":
        cards = torch.npu.device_count()
        if local_rank >= cards:
            raise ValueError(f"local rank {local_rank} has no card: this machine has {cards} NPUs")
        torch.npu.set_device(local_rank)
    place = Ranks(rank, local_rank, world_size, torch.device(kind, local_rank) if kind == "npu" else torch.device(kind))
    if not place.parallel:
        return place
    deepspeed = import_deepspeed(kind)
    if not distributed.is_initialized():
        distributed.init_process_group(
            _BACKENDS[kind], init_method=init_method, rank=rank, world_size=world_size, timeout=timeout
        )
    deepspeed.init_distributed(dist_backend=_BACKENDS[kind], auto_mpi_discovery=False, verbose=False)
    return place


def leave_ranks() -> None:
    """Give the process group back, if there is one; the last thing a rank does."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def import_deepspeed(kind: str) -> Any:
    """DeepSpeed, set up for `kind` of device. Raises RuntimeError where it is missing or set up for another."""
    loaded = "deepspeed" in sys.modules
    if not loaded and os.environ.setdefault("DS_ACCELERATOR", kind) != kind:
        raise RuntimeError(f"DS_ACCELERATOR is {os.environ['DS_ACCELERATOR']!r}, the model runs on {kind}: unset it")
    try:
        deepspeed = importlib.import_module("deepspeed")
    except ImportError as error:
        raise RuntimeError(f"tensor parallelism needs DeepSpeed, pip install 'porter[tp]': {error}") from error
    found = importlib.import_module("deepspeed.accelerator").get_accelerator().device_name()
    if found != kind:
        raise RuntimeError(f"DeepSpeed was imported for {found}, the model runs on {kind}: set DS_ACCELERATOR={kind}")
    if kind == "cpu":
        # Its shared-memory all-reduce is called wherever it can be compiled, but is set up only where LOCAL_SIZE is the
        # world size: under torchrun that is a segmentation fault. Without it DeepSpeed calls torch.distributed, as it
        # does on an NPU.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _present() -> str:
    npu = getattr(torch, "npu", None)  # there once torch_npu is imported
    return "npu" if npu is not None and npu.is_available() else "cpu"


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name)
    if text is None:
        raise ValueError(f"WORLD_SIZE is set but {name} is not: start by deepspeed or torchrun")
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, not a number")
    return int(text)
