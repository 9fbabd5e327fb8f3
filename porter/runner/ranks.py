"""The runner among its peers: one process here, or one a card under a launcher.

Contract: alone, nothing of `porter.parallel` is imported. With peers, what cannot be split is CannotRun before weights
are read, and all ranks draw the same tokens.
"""

from __future__ import annotations

import copy
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.runner.configuration import build_without_memory
from porter.runner.devices import choose_device
from porter.runner.refusal import CannotRun
from porter.runtime import UnknownModel, injection_policy

_ALONE = "run it in one process"


@dataclass(frozen=True)
class Place:
    """This process: its rank, on its machine too, how many there are, and the device it drives."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def parallel(self) -> bool:
        return self.world_size > 1

    def check(self, model_class: Any, folder: Path, config: Any, name: str, models: Path | None) -> None:
        """CannotRun (P087) where the checkpoint's sizes do not divide over the ranks, and where the model that it makes
        has layers that nobody knows how to split. `config`: the checkpoint's; `name`: the port's in the registry."""
        if not self.parallel:
            return
        from porter.parallel import CannotShard, check_divides, check_splits

        try:
            check_divides(config, self.world_size)
        except CannotShard as error:
            raise CannotRun("P087", str(error), "start another number of processes") from None
        model = build_without_memory(folder, model_class, copy.deepcopy(config))
        try:
            check_splits(model, name, self.world_size, models=models)
        except CannotShard as error:
            raise CannotRun("P087", str(error), _ALONE) from None


def join_ranks(device: str | None) -> Place:
    """The process group that a launcher's WORLD_SIZE tells of, or this process alone on `device`.

    Under a launcher no device is an NPU or the CPU: ranks do not run on CUDA.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        from porter.parallel import launch_from_environment

        ranks = launch_from_environment(None if device is None else choose_device(device).type)
        return Place(ranks.rank, ranks.local_rank, ranks.world_size, ranks.device)
    return Place(0, 0, 1, choose_device(device))


def shard_over(place: Place, model: Any, name: str, models: Path | None) -> Any:
    """The rank's part of the registry's model `name`, by its injection policy."""
    if not place.parallel:
        return model
    from porter.parallel import CannotShard, shard

    try:
        return shard(model, name, place.world_size, models=models)
    except CannotShard as error:
        raise CannotRun("P087", str(error), _ALONE) from None


def policy_of(name: str, models: Path | None, model_class: Any) -> dict[type, tuple[str, ...]] | None:
    """What tensor parallelism cuts, as DeepSpeed takes it: layer class -> outputs to sum. None where none is known."""
    try:
        _, layer, outputs = injection_policy(name, models)
    except UnknownModel:
        return None
    found = getattr(sys.modules[model_class.__module__], layer, None)
    return {found: outputs} if isinstance(found, type) else None


def check_policy(given: Any, name: str, models: Path | None, model_class: Any) -> None:
    """CannotRun (P087) for a policy that is not the registry's, which alone is known to be right. None is no policy."""
    if given is None or given == policy_of(name, models, model_class):
        return
    try:
        known = injection_policy(name, models)
    except UnknownModel:
        from porter.parallel import NO_SPLIT_POINTS

        raise CannotRun("P087", NO_SPLIT_POINTS, _ALONE) from None
    if given == known:
        return
    message = f"the injection policy {given!r} is not that of the port `{name}`"
    raise CannotRun("P087", message, "leave it out: the registry's is taken")


def common_seed(place: Place, seed: int | None) -> int | None:
    """`seed`; with peers and none given, rank 0's: ranks that draw other tokens would wait for each other."""
    if seed is not None or not place.parallel:
        return seed
    drawn = [torch.seed() if place.rank == 0 else 0]
    torch.distributed.broadcast_object_list(drawn, src=0)
    return drawn[0]
