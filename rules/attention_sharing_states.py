"""Attention whose last layers read keys and values of an earlier one -> npu_fused_infer_attention_score in BSND

Why:      as `attention`: one kernel, no transposes, no repeated heads, a cache that never moves. A layer that shares is
          handed the cache of the layer that wrote it: the same memory, and that layer's lengths.
Numerics: softmax in fp32, as in the source.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it. A layer that shares reads what the last
          layer of its kind with states of its own has written in the same step: `kv_layer_idx` is that layer. Where the
          layers that share compute the last tokens alone, their masks are those tokens' rows. The states stay in the
          model: in BSND, as long as the cache, they are not what the source hands out, and asking for them is an error.
"""

from transformers.cache_utils import KVSharingDict
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_INTERFACE, Argument, Edit, Rule, maybe
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward,
    given_eager_attention_forward__that_may_cap,
    given_repeat_kv,
)
from rules.shared.static_cache import (
    after_cache,
    after_mask,
    after_mask__window,
    before_cache,
    before_mask,
    before_mask__window,
)

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel",),
            private=("query", "key", "value"),
        ),
        Edit("init", site="attention.__init__", unit="statements"),
        Edit("shared", site="model.forward", unit="statements"),
        Edit("last", site="model.forward", unit="statements"),
        Edit("rows", site="model._maybe_slice_kv_shared_inputs", unit="statements"),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_INTERFACE,
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(
    self, q, k, v, shared: Argument, mask: Argument, cache: Argument, scaling, dropout=0.0, **kwargs
):
    query = q.transpose(1, 2)
    if self.is_kv_shared_layer:
        key, value = shared[self.layer_type]
    else:
        ...
        key = k.transpose(1, 2)
        ...
        value = v.transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
    if self.store_full_length_kv:
        shared[self.layer_type] = key, value
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self,
        query,
        key,
        value,
        mask,
        dropout=dropout,
        scaling=scaling,
        sliding_window=maybe,
        **kwargs,
    )


def after_kernel(self, q, k, v, shared, mask, cache, scaling, **kwargs):
    query = q
    if self.is_kv_shared_layer:
        key, value = shared[self.layer_type]
    else:
        ...
        key = k
        ...
        value = v
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
    if self.store_full_length_kv:
        shared[self.layer_type] = key, value
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=kernel_mask(mask, query, cache, self.kv_layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.kv_layer_idx, **kwargs),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=scaling,
        input_layout="BSND",
    )
    weights = None


def before_init(self, config, layer_idx):
    self.is_causal = config.use_bidirectional_attention != "all"
    mode = config.kv_sharing_modes[layer_idx]
    self.is_kv_shared_layer = mode == "reuse"
    self.store_full_length_kv = mode == "store"


def after_init(self, config, layer_idx):
    if config.use_bidirectional_attention == "all":
        raise ValueError("config.use_bidirectional_attention is 'all': an NPU port attends causally only")
    self.is_causal = True
    mode = config.kv_sharing_modes[layer_idx]
    self.is_kv_shared_layer = mode == "reuse"
    self.store_full_length_kv = mode == "store"
    self.kv_layer_idx = max(
        other
        for other in range(layer_idx + 1)
        if config.kv_sharing_modes[other] != "reuse" and config.layer_types[other] == config.layer_types[layer_idx]
    )


def before_shared(self, **kwargs):
    shared = kwargs.pop("shared_kv_states", None)
    if not isinstance(shared, KVSharingDict):
        shared = KVSharingDict(shared)


def after_shared(self, **kwargs):
    if kwargs.get("return_shared_kv_states") or kwargs.pop("shared_kv_states", None) is not None:
        raise ValueError(
            "shared_kv_states: a port keeps the keys and values that its layers share to itself, in a layout of its "
            "own. Leave out return_shared_kv_states and shared_kv_states, or ask the source model"
        )
    shared = KVSharingDict()


# One of the two: layers have inputs of their own, or have none.
def before_last(self, given, full, window, layers, states, inputs, turns, count, cache, **kwargs):
    if not isinstance(masks := given, dict):
        ...
        masks = {"full_attention": full, "sliding_attention": window}
    ...
    for index, layer in enumerate(layers):
        if index == self.first_kv_shared_layer_idx:
            with maybe:
                kept, kept_inputs, kept_turns, masks = self._maybe_slice_kv_shared_inputs(
                    states, inputs, turns, masks, count, past_key_values=cache, **kwargs
                )
            with maybe:
                kept, kept_turns, masks = self._maybe_slice_kv_shared_inputs(
                    states, turns, masks, count, past_key_values=cache, **kwargs
                )
        ...


def after_last(self, given, full, window, layers, states, inputs, turns, count, cache, **kwargs):
    if not isinstance(masks := given, dict):
        ...
        masks = {"full_attention": full, "sliding_attention": window}
    ...
    for index, layer in enumerate(layers):
        if index == self.first_kv_shared_layer_idx:
            with maybe:
                kept, kept_inputs, kept_turns, masks = self._maybe_slice_kv_shared_inputs(
                    states, inputs, turns, masks, count, past_key_values=cache, **kwargs
                )
            with maybe:
                kept, kept_turns, masks = self._maybe_slice_kv_shared_inputs(
                    states, turns, masks, count, past_key_values=cache, **kwargs
                )
        ...


def before_rows(self, states, masks, count):
    rows = slice(-count, None)
    kept = states[:, rows, :]
    ...
    shown = {kind: mask[:, :, rows, :] if mask is not None else None for kind, mask in masks.items()}


def after_rows(self, states, masks, count):
    rows = slice(-count, None)
    kept = states[:, rows, :]
    ...
    batch = kept.shape[0] if kept.shape[1] == 1 else -1  # one token's mask has a row for each sequence
    shown = {
        kind: mask._replace(masked=mask.masked[:, :, rows, :].expand(batch, -1, -1, -1).contiguous())
        for kind, mask in masks.items()
    }


def not_kernel_with_values_first(self, q, k, v, shared, mask, cache, scaling, **kwargs):
    """What is shared is keys before values."""
    query = q.transpose(1, 2)
    if self.is_kv_shared_layer:
        value, key = shared[self.layer_type]
    else:
        key = k.transpose(1, 2)
        value = v.transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
    if self.store_full_length_kv:
        shared[self.layer_type] = key, value
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_kernel_that_shares_the_step_alone(self, q, k, v, shared, mask, cache, scaling, **kwargs):
    """What is shared before the cache is updated are the new tokens, not all."""
    query = q.transpose(1, 2)
    if self.is_kv_shared_layer:
        key, value = shared[self.layer_type]
    else:
        key = k.transpose(1, 2)
        value = v.transpose(1, 2)
    if self.store_full_length_kv:
        shared[self.layer_type] = key, value
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_init_that_shares_by_choice(self, config, layer_idx):
    """Which layer writes must be known where the model is built."""
    self.is_causal = config.use_bidirectional_attention != "all"
    mode = config.kv_sharing_modes[layer_idx]
    self.is_kv_shared_layer = mode != "store"
    self.store_full_length_kv = mode == "store"


def not_rows_of_the_first_tokens(self, states, masks, count):
    """The tokens that are computed on are the last ones."""
    rows = slice(None, count)
    kept = states[:, rows, :]
    shown = {kind: mask[:, :, rows, :] if mask is not None else None for kind, mask in masks.items()}


_KINDS = ("sliding_attention", "full_attention", "sliding_attention")
_MODES = ("store", "store", "reuse")


def _runs(draw, kernel, init, shared_edit, cache_edit, mask_edit, window_edit):
    """A layer that writes, and one that reads what it wrote with other queries, in each step."""
    built = draw.module(kv_sharing_modes=_MODES, layer_types=_KINDS, use_bidirectional_attention=None)

    def step(self, q, k, v, cos, sin, mask, cache):
        shared, outputs = shared_edit(self)["shared"], []
        for layer_idx, queries in ((0, q), (2, q.flip(1))):
            self.layer_idx, self.layer_type = layer_idx, _KINDS[layer_idx]
            init(self, built, layer_idx)
            outputs.append(kernel(self, queries, k, v, shared, mask, cache, 0.25)["output"])
        return outputs[0] + outputs[1]

    masks = (None, mask_edit), (4, window_edit)
    return [prefill_and_decode(draw, step, cache_edit, edit, window=window) for window, edit in masks]


def proof_before(draw):
    return _runs(draw, before_kernel, before_init, before_shared, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_init, after_shared, after_cache, after_mask, after_mask__window)
