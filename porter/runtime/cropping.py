"""What `crop` of a cache is asked for: under transformers 5.14 a number above 0 is the length to keep.

5.16 takes 0 and below alone, minus the number of tokens to remove, which 5.14 takes too.
"""

from __future__ import annotations

import inspect

from transformers.cache_utils import Cache

_KEEPS = "max_length" in inspect.signature(Cache.crop).parameters


def tokens_to_remove(asked: int, held: int) -> int:
    """How many of `held` tokens to forget. ValueError where the release gives a number above 0 no meaning."""
    if asked <= 0:
        return -asked
    if not _KEEPS:
        raise ValueError(f"crop takes 0 or minus the number of tokens to remove, not {asked}")
    return max(held - asked, 0)
