"""The base classes of ports: a transformers `PreTrainedModel` with merged weights, and one with a static cache too.

Contract: `from_pretrained`, `save_pretrained`, `load_state_dict` and `generate` take and give what the source class
does; a checkpoint never shows that projections are merged. What a port cannot do is an error that says so.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import PrefixChange, WeightConverter

from porter.runtime.adapters import TakesAdapters
from porter.runtime.cache import StaticKVCache, check_kv_cache
from porter.runtime.cache_name import GENERATED, returned_cache
from porter.runtime.capabilities import InferenceOnly, OneAttention
from porter.runtime.changed import note_built, refuse_changed
from porter.runtime.leftovers import refuse_parts
from porter.runtime.made_from import PortedFrom, check_installed
from porter.runtime.quantized import QuantizedCheckpoint
from porter.runtime.splits import WeightSplit
from porter.runtime.stored import check_converted, check_given, check_stored, refuse_quantized, stored_in, unpickled
from porter.runtime.weights import RowMerge, merge_converters, merged_state_dict, without_merges

# What a port's own cache gives too; transformers 5.14 sets the last one where an assistant drafts.
_ALIKE = (None, "static", "dynamic_full")
_SHARDING_ARGUMENTS = ("tp_plan", "tp_size", "distributed_config")


class PortedPreTrainedModel(TakesAdapters, InferenceOnly):
    """`PreTrainedModel` for ported classes; `weight_merges` lists the projections that the port merged,
    `weight_splits` how ranks share the weights that are no linears of the configuration's plan. `token_room`: field of
    the configuration, tokens of a row behind which the source fails. `unheeded`: class of the file -> attributes that
    the source sets on such modules and computes with, and the port does not have.

    `source_is_custom_code`: the class it was made from is none of transformers' own. `ported_from`: the installed
    module it was made from, if it was one. `made_under`: the transformers it was made under, where that module is none
    of its own. Raises OtherRelease, when a class is defined and when a model is built, where that module's text is
    another one by now, or another release of transformers is installed.
    """

    source_is_custom_code: bool = False
    ported_from: PortedFrom | None = None
    made_under: str | None = None
    weight_merges: tuple[RowMerge, ...] = ()
    weight_splits: tuple[WeightSplit, ...] = ()
    unheeded: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})
    token_room: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_installed(cls.__name__, cls.ported_from, cls.made_under)

    def __init__(self, *inputs: Any, **kwargs: Any) -> None:
        check_installed(type(self).__name__, self.ported_from, self.made_under)
        super().__init__(*inputs, **kwargs)

    def post_init(self) -> None:
        super().post_init()
        note_built(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module. OtherComputation where a change to one of its modules would be passed by, in eager."""
        if not torch.compiler.is_compiling() and self.base_model is self:
            refuse_changed(self, self.weight_merges, self.unheeded)
        return super().__call__(*args, **kwargs)

    @classmethod
    def is_custom_code(cls) -> bool:
        """A port loads like the class it was made from: transformers converts and initializes its own ones otherwise.

        Of custom code it takes names as they are, whatever the model type, and leaves loaded weights alone that an old
        `_init_weights` would draw again.
        """
        return cls.source_is_custom_code

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """As in transformers, from an unchanged checkpoint of floating-point weights.

        ValueError for transformers' own tensor parallelism, for a checkpoint that is quantized by its configuration,
        its files or its tensors, and where one is to be quantized on loading.
        """
        for name in _SHARDING_ARGUMENTS:
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{name}: a port's merged projections do not shard by transformers' plans. Load it whole and shard "
                    "it with the injection policy of generated_models"
                )
        refuse_quantized(pretrained_model_name_or_path, kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    @staticmethod
    def _load_pretrained_model(
        model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, expected_keys: Any = None
    ) -> Any:
        if load_config.hf_quantizer is not None:
            method = getattr(load_config.hf_quantizer, "quantization_config", None)
            scheme = getattr(method, "quant_method", "of no name")
            raise QuantizedCheckpoint(str(getattr(scheme, "value", scheme)), "it has scales per projection")
        merges = merge_converters(model)
        _check_conversions(load_config.weight_mapping or (), merges)
        load_config = dataclasses.replace(load_config, weight_mapping=[*(load_config.weight_mapping or ()), *merges])
        if state_dict is None and checkpoint_files and not checkpoint_files[0].endswith(".safetensors"):
            state_dict = unpickled(checkpoint_files, load_config)  # seen before they are cast
        check_stored(model, stored_in(state_dict, checkpoint_files), load_config.weight_mapping)
        loaded = PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys)
        check_converted(loaded[0])
        model._weight_conversions = without_merges(model._weight_conversions)  # saving asks again what is merged
        return loaded

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Write the original layout. `save_original_format=False` writes the merged one, which loads here too."""
        own = getattr(self, "_weight_conversions", None)
        if own is None:  # built from a config: what transformers would revert
            mapped = get_model_conversion_mapping(self, add_legacy=False)
            own = [conversion for conversion in mapped if not isinstance(conversion, PrefixChange)]
        # transformers remembers the converters that matched; a checkpoint of merged weights matches none of ours, and
        # is saved in the original layout all the same
        self._weight_conversions = [*without_merges(own), *merge_converters(self)]
        return super().save_pretrained(save_directory, *args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module. ValueError where accelerate would fill it by these names from an original checkpoint."""
        if "accelerate" in sys.modules and self.weight_merges:
            _refuse_filling_by_name(sys._getframe(1))
        return super().state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Takes the source model's state dict too: its q, k, v, gate and up are merged on the way.

        ValueError, also if not `strict`, for one part of a merge without the others, which would be dropped, and for
        quantized weights.
        """
        check_given(self, state_dict)
        merged = merged_state_dict(self, state_dict)
        if not strict:
            refuse_parts(self.lost_parts(merged))
        return super().load_state_dict(merged, strict=strict, assign=assign)


def _refuse_filling_by_name(caller: types.FrameType) -> None:
    """ValueError for accelerate's loading with a device map: it passes by every name that the model does not have."""
    if caller.f_code.co_name == "load_checkpoint_in_model" and caller.f_locals.get("device_map") is not None:
        raise ValueError(
            "accelerate fills a model by the names of its parameters, and would pass q, k, v, gate and up of the "
            "checkpoint by, which a port has merged: use from_pretrained(folder, device_map=...)"
        )


def _check_conversions(own: Any, merges: list[WeightConverter]) -> None:
    """ValueError where transformers itself makes one of the merged parts out of other tensors of the checkpoint."""
    parts = {pattern for merge in merges for pattern in merge.source_patterns}
    for conversion in own:
        clash = parts & set(conversion.target_patterns) if isinstance(conversion, WeightConverter) else set()
        if clash:
            raise ValueError(
                f"transformers splits {', '.join(conversion.source_patterns)} of these checkpoints into "
                f"{', '.join(sorted(clash))}, which this port has merged: convert without the rule that merges them"
            )


class NpuPreTrainedModel(OneAttention, PortedPreTrainedModel):
    """A port whose attention keeps BSND tensors: `generate()` gives it a `StaticKVCache` of the length it needs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module; the KV cache counts the step when all layers have run it, whichever they are."""
        given = _cache_in((*args, *kwargs.values()))
        if torch.compiler.is_compiling():
            outputs = super().__call__(*args, **kwargs)
        else:
            try:
                outputs = super().__call__(*args, **kwargs)
            except BaseException:
                if given is not None:
                    given.cursor.abandon()
                raise
        cache = given if given is not None else _cache_of(outputs)
        if cache is not None:
            cache.cursor.finish()
        return outputs

    def _prepare_cache_for_generation(
        self,
        generation_config: Any,
        model_kwargs: dict[str, Any],
        generation_mode: Any,
        batch_size: int,
        max_cache_length: int,
    ) -> Any:
        given = model_kwargs.get(GENERATED)
        slots = max(max_cache_length, generation_config.max_cache_len or 0)
        if given is not None:
            if generation_config.use_cache is False:
                raise ValueError(f"{GENERATED} and use_cache=False contradict each other: leave one of them out")
            cache = check_kv_cache(given)
            assert cache is not None
            if cache.max_cache_len is None:
                cache.grow_to(slots)
        elif generation_config.use_cache is not False:
            if generation_config.cache_implementation not in _ALIKE:
                raise ValueError(
                    f"cache_implementation={generation_config.cache_implementation!r}: a port generates with "
                    "porter.runtime.StaticKVCache only; leave it out"
                )
            # exactly as long as needed, and elastic: whoever continues from the returned cache needs more
            cache = StaticKVCache(self.config)
            if not generation_config.is_assistant:  # an assistant drafts in many short calls on one cache
                cache.grow_to(slots)
            model_kwargs[GENERATED] = cache
            return None
        return super()._prepare_cache_for_generation(
            generation_config, model_kwargs, generation_mode, batch_size, max_cache_length
        )


def _cache_in(values: Iterable[Any]) -> StaticKVCache | None:
    return next((value for value in values if isinstance(value, StaticKVCache)), None)


def _cache_of(outputs: Any) -> StaticKVCache | None:
    """The cache that a call made and gave back: of a `ModelOutput`, or of the tuple it is with return_dict=False."""
    if isinstance(outputs, tuple):
        return _cache_in(outputs)
    cache = returned_cache(outputs)
    return cache if isinstance(cache, StaticKVCache) else None
