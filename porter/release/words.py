"""What releases of transformers call one thing, where porter reads or writes the word itself.

5.24 renames the cache of keys and values from `past_key_values` to `cache` in calls and in results, and marks each
function that took it with `@deprecate_kwarg`, which hands the old keyword on as the new one. 5.14 and 5.15 mark a
function of the kernel hub with `@use_kernel_func_from_hub`, the others with `@use_kernel_forward_from_hub`.
"""

CACHE_BEFORE_5_24, CACHE_SINCE_5_24 = "past_key_values", "cache"
RENAMING_DECORATORS = frozenset({"deprecate_kwarg"})
HUB_DECORATORS = frozenset({"use_kernel_forward_from_hub", "use_kernelized_func", "use_kernel_func_from_hub"})
