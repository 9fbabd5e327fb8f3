"""A kernel, a chip and a few constants -> how long the kernel takes, and what keeps it.

    time = launch + max(bytes / bandwidth, flops / peak, bytes over a link)   and a collective's latency

Contract: pure arithmetic. Bandwidth and peak are the published ones times a share that is fitted. An all-reduce over r
cards that are linked in pairs sends 2/r of its bytes over each link.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from porter.predict.chips import Chip
from porter.predict.kernels import Kernel

MEMORY, COMPUTE, LINK, LAUNCH = "memory", "compute", "link", "launch"


@dataclass(frozen=True)
class Constants:
    """What is fitted. Shares: of the published bandwidth, for products and attention (`streamed`) and for all other
    kernels (`moved`, above one where the next kernel finds in the L2 cache what one wrote); of the published peak; of a
    link. Seconds: to launch a kernel, in a graph whose shapes stay and
    in one whose shapes change from step to step; of a collective's latency."""

    streamed: float
    moved: float
    computed: float
    linked: float
    launch: float
    changing: float
    latency: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True)
class Duration:
    """Seconds, and what takes most of them."""

    seconds: float
    bound: str


def duration(kernel: Kernel, chip: Chip, constants: Constants, ranks: int = 1, *, changing: bool = False) -> Duration:
    """Of one call. `changing`: in a graph whose shapes change from step to step."""
    share = constants.streamed if kernel.flops else constants.moved
    parts = {
        MEMORY: kernel.bytes / (chip.bandwidth * share),
        COMPUTE: kernel.flops / (chip.peak * constants.computed),
        LINK: 2 * kernel.summed / ranks / (chip.link * constants.linked),
    }
    launch = constants.changing if changing else constants.launch
    launch += constants.latency if kernel.summed else 0.0
    bound = max(parts, key=lambda name: parts[name])
    return Duration(launch + parts[bound], bound if parts[bound] >= launch else LAUNCH)
