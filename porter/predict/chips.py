"""The chips that a time is predicted for: what is published of each.

Sources. Cores, their frequency and the memory's size: the platform configuration that CANN installs for each chip
(`data/platform_config/Ascend910B*.ini`: cube_core_cnt, cube_freq, memory_size); a core multiplies 16 x 16 x 16 half
precision numbers in a cycle, which gives the peak. Bandwidth: 1.6 TB/s is what Atlas A2 products with 64 GB are
announced with, and half of it what users state of the chip with 32 GB. Links: the specification of Atlas 800T A2 has
392 GB/s a card, over seven links of 56 GB/s to the seven others.
"""

from __future__ import annotations

from dataclasses import dataclass

from porter.diagnostics import Refused, nearest, refused

_A_CYCLE = 2 * 16**3  # half precision operations of one core


@dataclass(frozen=True)
class Chip:
    """`bandwidth` and `link` in bytes a second, `memory` in bytes, `frequency` in hertz. `link`: from a card to one
    other; all cards of a server are linked in pairs."""

    name: str
    cores: int
    frequency: float
    bandwidth: float
    memory: int
    link: float = 56e9

    @property
    def peak(self) -> float:
        """Half precision operations a second of its matrix units."""
        return self.cores * self.frequency * _A_CYCLE


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("Ascend910B1", 24, 1.85e9, 1.6e12, 64 << 30),
        Chip("Ascend910B2", 24, 1.80e9, 1.6e12, 64 << 30),
        Chip("Ascend910B3", 20, 1.80e9, 1.6e12, 64 << 30),
        Chip("Ascend910B4", 20, 1.50e9, 0.8e12, 32 << 30),
        Chip("Ascend910B4-1", 20, 1.50e9, 1.6e12, 64 << 30),
    )
}
CARDS = 8  # of a server, all linked in pairs


def chip_named(name: str) -> Chip | Refused:
    """By the name that a driver gives it, with or without `Ascend`. Refused (P118) where no figures are known here."""
    found = CHIPS.get(name) or CHIPS.get(f"Ascend{name}")
    if found is not None:
        return found
    close = nearest(name, CHIPS) or nearest(f"Ascend{name}", CHIPS)
    help = f"did you mean {' or '.join(f'`{other}`' for other in close)}?" if close else f"known: {', '.join(CHIPS)}"
    return refused("P118", f"no bandwidth and no peak is known here of a chip `{name}`", help)
