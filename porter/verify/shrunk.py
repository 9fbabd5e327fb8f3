"""A real configuration -> one of the same kind that is small: what a checkpoint folder's own `config.json` says, tiny.

Contract: sizes change, properties stay. Heads keep their grouping and head_dim how it stands to hidden_size // heads;
layers keep one of each kind there is; rope settings, activation, tying, biases, scales stay as they are, with lengths
cut in one ratio. A size whose name is not known shrinks as the hidden size does. Plain data in, plain data out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HIDDEN, HEADS, HEAD_DIM, LAYERS, VOCABULARY, POSITIONS, WINDOW, ORIGINAL = 64, 4, 16, 2, 128, 128, 8, 16
_OF_THE_FOLDER = {
    *("architectures", "auto_map", "model_type", "transformers_version", "_name_or_path", "name_or_path"),
    *("torch_dtype", "dtype", "quantization_config", "_attn_implementation", "_commit_hash"),
}
_HIDDEN = ("hidden_size", "d_model", "n_embd")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "multi_query_group_num", "n_head_kv")
_HEAD_DIM = ("head_dim", "kv_channels", "attention_head_dim", "dim_head")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_POSITIONS = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_sequence_length")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "inner_size")
_FIXED = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": True,
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "num_shared_experts"), 1),
}
_AT_MOST = {"num_experts_per_tok": 2, "moe_topk": 2, "first_k_dense_replace": 1, "num_nextn_predict_layers": 0}
_SIZES = ("size", "dim", "rank", "inner", "channels", "width")
_ORIGINAL_LENGTH = "original_max_position_embeddings"
_ROPE = ("rope_scaling", "rope_parameters")


def shrunk(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `given`, small. `defaults`: what the class has for the others; only ratios are read there."""
    own = {name: value for name, value in given.items() if name not in _OF_THE_FOLDER}
    whole = {**defaults, **own}
    small = {name: _number(name, value, whole) for name, value in own.items()}
    small |= _heads(own, whole)
    small |= _layers(own, whole)
    small |= _lengths(own, whole, small)
    return small


def _number(name: str, value: Any, whole: Mapping[str, Any]) -> Any:
    """An entry that stands for itself; all others stay as they are."""
    if name.endswith("_config") and isinstance(value, Mapping):
        return shrunk(value, {})
    if name in _FIXED:
        return value if value is None else _FIXED[name]
    if type(value) is not int:
        return value
    if name in _AT_MOST:
        return min(value, _AT_MOST[name])
    if "vocab" in name:
        return VOCABULARY
    hidden = _first(_HIDDEN, whole)
    if name in _INNER and hidden:
        return 2 * HIDDEN if value > hidden else HIDDEN // 2 if value < hidden else HIDDEN
    if name in _HIDDEN:
        return HIDDEN
    known = (*_HEADS, *_KV_HEADS, *_HEAD_DIM, *_LAYERS, *_POSITIONS)
    if name not in known and value > 2 * HIDDEN and any(part in name for part in _SIZES):
        return max(8, value * HIDDEN // (hidden or value) // 8 * 8)
    return value


def _heads(own: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    heads, groups, hidden = _first(_HEADS, whole), _first(_KV_HEADS, whole), _first(_HIDDEN, whole)
    few = HEADS if not groups or not heads or groups >= heads else 1 if groups == 1 else 2
    small: dict[str, Any] = {name: HEADS for name in _HEADS if type(own.get(name)) is int}
    small |= {name: few for name in _KV_HEADS if type(own.get(name)) is int}
    for name in _HEAD_DIM:
        if type(own.get(name)) is int:
            width = own[name] * (heads or HEADS)
            wider, narrower = bool(hidden and width > hidden), bool(hidden and width < hidden)
            small[name] = 2 * HEAD_DIM if wider else HEAD_DIM // 2 if narrower else HEAD_DIM
    return small


def _layers(own: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """Two layers, or one of each kind that the lists with an entry a layer tell apart."""
    count = _first(_LAYERS, whole)
    if not count:
        return {}
    lists = {name: value for name, value in own.items() if isinstance(value, list) and len(value) == count}
    kinds: dict[str, int] = {}
    for layer in range(count):
        kinds.setdefault(repr([value[layer] for value in lists.values()]), layer)
    kept = sorted(kinds.values())[:8] if lists else []
    kept = sorted({*kept, *[layer for layer in range(count) if layer not in kept][: max(0, LAYERS - len(kept))]})
    small: dict[str, Any] = {name: len(kept) for name in _LAYERS if type(own.get(name)) is int}
    small |= {name: [value[layer] for layer in kept] for name, value in lists.items()}
    if type(own.get("max_window_layers")) is int:
        small["max_window_layers"] = (
            len(kept) if own["max_window_layers"] >= count else min(1, own["max_window_layers"])
        )
    return small


def _lengths(own: Mapping[str, Any], whole: Mapping[str, Any], small: Mapping[str, Any]) -> dict[str, Any]:
    """Positions, window and rope settings. What counts as the original length keeps its share of the longest."""
    found: dict[str, Any] = {"sliding_window": WINDOW} if type(own.get("sliding_window")) is int else {}
    ropes = {name: own[name] for name in _ROPE if isinstance(own.get(name), Mapping)}
    longest = _first(_POSITIONS, whole)
    original = next((n for n in map(_original, (own, *ropes.values())) if n), 0)
    ratio = longest / original if longest and original else 1.0
    longest_now = min(max(POSITIONS, round(ORIGINAL * ratio)), 16 * POSITIONS)
    original_now = max(1, round(longest_now / ratio))
    for name, rope in ropes.items():
        found[name] = {key: _of_rope(key, value, whole, small, original_now) for key, value in rope.items()}
    if _original(own):
        found[_ORIGINAL_LENGTH] = original_now
    return {**found, **{name: longest_now for name in _POSITIONS if type(own.get(name)) is int}}


def _original(values: Mapping[str, Any]) -> int:
    """The length that a rope type counts as original; 0 where none is named."""
    return _first((_ORIGINAL_LENGTH,), values)


def _of_rope(key: str, value: Any, whole: Mapping[str, Any], small: Mapping[str, Any], original: int) -> Any:
    if isinstance(value, Mapping):  # one entry for each type of layer
        return {name: _of_rope(name, entry, whole, small, original) for name, entry in value.items()}
    if key == _ORIGINAL_LENGTH:
        return original
    heads, hidden = _first(_HEADS, whole), _first(_HIDDEN, whole)
    size = _first(_HEAD_DIM, whole) or (hidden // heads if hidden and heads else 0)
    now = _first(_HEAD_DIM, small) or HEAD_DIM
    if not isinstance(value, list) or not size:
        return value
    if key.endswith("_section"):  # shares of the rotated half
        return [part * now // size for part in value]
    return value[: max(1, len(value) * now // size)]  # a factor for each frequency


def _first(names: tuple[str, ...], values: Mapping[str, Any]) -> int:
    return next((values[name] for name in names if type(values.get(name)) is int and values[name] > 0), 0)
