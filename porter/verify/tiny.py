"""Configurations small enough to prove a port on a laptop, for any decoder.

Contract: sizes are set by the fields' names (`hidden_size`, `n_layer`, ...) where the class has them with a default
that is not None; `tiny.json` adds what a model type needs beyond that. A variant changes one property; one that the
class has no field for comes back with the reason instead of overrides.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from porter.parallel.by_layer import in_layers
from porter.verify.shrunk import shrunk

_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
_BIASES = ("attention_bias", "mlp_bias", "qkv_bias", "use_bias", "use_qkv_bias", "attention_out_bias")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k")
_ORIGINAL = 16  # positions the rope types below count as the original length: generated text goes past it
_ROPES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": _ORIGINAL,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": _ORIGINAL},
}


@dataclass(frozen=True)
class Variant:
    """A configuration beside the base one: what to change, or why there is no such thing."""

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@cache
def _recipes() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "tiny.json").read_text(encoding="utf-8"))


def known_model_types() -> tuple[str, ...]:
    """Model types whose tiny configuration is known to generate."""
    return tuple(_recipes()["models"])


def special_input(model_type: str) -> str:
    """`codebooks` or `backbone_states` where a model takes more than a row of tokens, else empty."""
    return _recipes()["models"].get(model_type, {}).get("input", "")


def tiny_config(config_class: Any, given: dict[str, Any] | None = None, **overrides: Any) -> Any:
    """A small instance of a configuration class. Raises what the class raises for values it does not take.

    given: the entries of a checkpoint's own config.json, which it is then like.
    """
    fields = inspect.signature(config_class.__init__).parameters
    recipe = _recipes()["models"].get(config_class.model_type, {})
    values = {
        name: value
        for name, value in _recipes()["fields"].items()
        if name in fields and (name in _TOKENS or fields[name].default is not None)
    }
    for name in recipe.get("without", ()):
        values.pop(name)
    # copied, as a configuration may write into the dicts and lists it is given
    merged = json.loads(json.dumps({**values, **recipe.get("with", {})}))
    if given is None:
        return config_class(**{**merged, **overrides})
    like = shrunk(given, _defaults(config_class))
    attributes = {"rope_scaling", "rope_parameters"}  # two names of one thing: what is given, or overridden, is whole
    if attributes & overrides.keys():
        like = {name: value for name, value in like.items() if name not in attributes}
    return config_class.from_dict(json.loads(json.dumps({**merged, **like, **overrides})))


def _defaults(config_class: Any) -> dict[str, Any]:
    try:
        return config_class().to_dict()
    except Exception:  # a class that wants arguments says nothing of defaults
        return {}


def variants(config_class: Any, given: dict[str, Any] | None = None) -> tuple[Variant, ...]:
    """The base configuration, like `given`, and each property that a port must carry over, one at a time."""
    fields = inspect.signature(config_class.__init__).parameters
    base = tiny_config(config_class, given)
    return (
        Variant("base"),
        *_heads(fields, base),
        _biases(fields, base),
        _embeddings(base),
        *(_rope(fields, base, kind) for kind in _ROPES),
        _window(fields, base),
        *_experts(fields, base),
    )


def _heads(fields: Any, base: Any) -> tuple[Variant, ...]:
    heads, grouped = getattr(base, "num_attention_heads", None), "num_key_value_heads" in fields
    if not grouped or not isinstance(heads, int):
        missing = "the configuration does not group heads"
        kinds = tuple(Variant(name, reason=missing) for name in ("plain heads", "one kv head"))
    else:
        other = heads if any(of_layer != heads for of_layer in in_layers(base, "num_key_value_heads")) else heads // 2
        named = "plain heads" if other == heads else "grouped heads"
        kinds = (
            Variant(named, {"num_key_value_heads": other}),
            Variant("one kv head", {"num_key_value_heads": 1}),
        )
    name = "head_dim unlike hidden/heads"
    if "head_dim" not in fields or not isinstance(heads, int):
        return *kinds, Variant(name, reason="the configuration has no head_dim")
    return *kinds, Variant(name, {"head_dim": 2 * base.hidden_size // heads})


def _biases(fields: Any, base: Any) -> Variant:
    there = [name for name in _BIASES if name in fields and isinstance(getattr(base, name, None), bool)]
    if not there:
        return Variant("biases", reason="the configuration has no field for biases")
    have = all(getattr(base, name) for name in there)
    return Variant("no biases" if have else "biases", dict.fromkeys(there, not have))


def _embeddings(base: Any) -> Variant:
    tied = bool(getattr(base, "tie_word_embeddings", False))
    return Variant("untied embeddings" if tied else "tied embeddings", {"tie_word_embeddings": not tied})


def _rope(fields: Any, base: Any, kind: str) -> Variant:
    name = f"{kind} rope"
    present = getattr(base, "rope_parameters", None)
    if "rope_parameters" not in fields or not isinstance(present, dict):
        return Variant(name, reason="the configuration has no rope_parameters")

    def scaled(parameters: dict[str, Any]) -> dict[str, Any]:
        if "rope_type" not in parameters:  # one entry for each type of layer
            return {key: scaled(value) for key, value in parameters.items() if isinstance(value, dict)}
        return {**parameters, **_ROPES[kind], "rope_type": kind}

    # dynamic scaling starts behind max_position_embeddings itself
    overrides: dict[str, Any] = {"max_position_embeddings": _ORIGINAL} if kind == "dynamic" else {}
    return Variant(name, {**overrides, "rope_parameters": scaled(present)})


def _window(fields: Any, base: Any) -> Variant:
    if "sliding_window" not in fields:
        return Variant("sliding window", reason="the configuration has no sliding_window")
    if getattr(base, "sliding_window", None) and not getattr(base, "layer_types", None):
        return Variant("no sliding window", {"sliding_window": None})
    extra = {"use_sliding_window": True, "max_window_layers": 1}
    overrides: dict[str, Any] = {
        "sliding_window": 8,
        **{name: value for name, value in extra.items() if name in fields},
    }
    if "layer_types" in fields and "use_sliding_window" not in fields:
        count = base.num_hidden_layers
        overrides["layer_types"] = [("sliding_attention", "full_attention")[i % 2] for i in range(count)]
    return Variant("sliding window", overrides)


def _experts(fields: Any, base: Any) -> Iterator[Variant]:
    """None for a configuration without experts: it has no such property."""
    count = next((n for n in _EXPERTS if n in fields and isinstance(getattr(base, n, None), int)), None)
    chosen = next((n for n in _CHOSEN if n in fields and isinstance(getattr(base, n, None), int)), None)
    if count is None or chosen is None:
        return
    yield Variant("more experts", {count: 12, chosen: 3})
    yield Variant("one expert a token", {chosen: 1})
    if isinstance(getattr(base, "norm_topk_prob", None), bool):
        name = "plain shares" if base.norm_topk_prob else "shares that sum to one"
        yield Variant(name, {"norm_topk_prob": not base.norm_topk_prob})
    if isinstance(getattr(base, "n_group", None), int) and isinstance(getattr(base, "topk_group", None), int):
        yield Variant("groups of experts", {count: 16, "n_group": 4, "topk_group": 2})
