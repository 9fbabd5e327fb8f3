"""Is a checkpoint quantized: found out from every place where a scheme is written, by the name it has there.

Contract: a port's weights are floating point. transformers casts what it finds to the parameter's dtype without a word,
so integers and eight-bit floats would become garbage; they are an error here, before a weight is read. That holds also
where transformers could dequantize on loading: merged projections have one scale too few, and one answer for all is
what can be relied on. Such a checkpoint is made usable by dequantizing it with its own tool and saving that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_CONFIG_KEYS = ("quantization_config", "compression_config", "quantization", "quantize")
_NAMES = ("quant_method", "quant_algo", "quant_type", "quantization_type", "format")
_UNNAMED = "of no name"
_NO_SCHEME = ("", "none", "float", "fp16", "bf16", "float16", "bfloat16", "float32")
# files that tools for quantization write beside a checkpoint, and whose they are
_FILES = {
    "*quant_model_description*.json": "msModelSlim",
    "*quant_model_weight*.safetensors": "msModelSlim",
    "hf_quant_config.json": "ModelOpt",
    "quantize_config.json": "GPTQ",
    "quant_config.json": "AWQ",
    "quantization_config.json": "quantized",
}
_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
# last parts of the names of tensors that only a quantized checkpoint has, and who writes them
_MARKS = {
    **dict.fromkeys(("qweight", "qzeros", "scales"), "GPTQ or AWQ"),
    **dict.fromkeys(("g_idx", "qscales"), "GPTQ"),
    **dict.fromkeys(
        ("weight_packed", "weight_shape", "weight_global_scale", "input_global_scale"), "compressed-tensors"
    ),
    **dict.fromkeys(("deq_scale", "quant_bias", "weight_offset", "input_offset", "anti_bias"), "msModelSlim"),
    **dict.fromkeys(
        ("SCB", "weight_format", "absmax", "quant_map", "nested_absmax", "nested_quant_map"), "bitsandbytes"
    ),
    "weight_scale_inv": "fp8 by blocks",
    **dict.fromkeys(("weight_scale", "weight_scale_2", "weight_zero_point", "input_scale", "input_zero_point"), ""),
    **dict.fromkeys(("output_scale", "q_scale", "k_scale", "v_scale", "kv_cache_scale", "kv_cache_offset"), ""),
    **dict.fromkeys(("_scale", "_data"), "quanto"),
    "W_q": "HQQ",
}
_HELP = "dequantize it with the tool that made it, or take the checkpoint that it was made from"


class QuantizedCheckpoint(ValueError):
    """The checkpoint is quantized: `fault` says how and where that is written, `help` what to do."""

    def __init__(self, scheme: str, where: str) -> None:
        self.scheme = scheme
        self.fault, self.help = f"the checkpoint is quantized ({scheme}): {where}", _HELP
        super().__init__(f"{self.fault}; a port takes floating-point weights only: {self.help}")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises QuantizedCheckpoint for a configuration, as a dict, that names a scheme at any depth."""
    for path, value in _walk(config):
        key = path.rpartition(".")[2]
        scheme = _scheme_of_entry(value) if key in _CONFIG_KEYS else None
        if scheme is not None:
            raise QuantizedCheckpoint(scheme, f"`{path}` in {where}")


def check_folder(folder: Path) -> None:
    """Raises QuantizedCheckpoint for a folder with a configuration or a file that names a scheme."""
    config = _json(folder / "config.json")
    if isinstance(config, dict):
        check_config(config, f"`{folder / 'config.json'}`")
    for pattern, tool in _FILES.items():
        for file in sorted(folder.glob(pattern)):
            scheme = _scheme_of_file(_json(file) if file.suffix == ".json" else None)
            if scheme is not None:
                raise QuantizedCheckpoint(" ".join(filter(None, (tool, scheme))), f"it has `{file}`")


def check_tensors(dtypes: Mapping[str, str], floats: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises QuantizedCheckpoint for tensors, name -> dtype as safetensors has it, that a model cannot take as it is.

    floats: names of those that become floating-point parameters; known: of all that the model has a place for.
    """
    odd = sorted(name for name in floats if dtypes[name] not in _FLOATS)
    places = set(known)
    marks = {name: mark for name in sorted(dtypes.keys() - places) for mark in [mark_of(name)] if mark is not None}
    if odd or marks:
        named = next(filter(None, marks.values()), "")
        kinds = ", ".join(sorted({dtypes[name] for name in odd}))
        shown = [f"`{name}` is {dtypes[name]}" for name in odd[:1]] + [f"`{name}`" for name in list(marks)[:1]]
        scheme = ", ".join(filter(None, (named, kinds))) or "by scales"
        raise QuantizedCheckpoint(scheme, f"{' beside '.join(shown)} in {where}")


def check_dtypes(dtypes: Mapping[str, str], where: str) -> None:
    """Raises QuantizedCheckpoint for weights of integers and the like: what can be told without the model."""
    check_tensors(dtypes, [name for name in dtypes if name.endswith(".weight")], dtypes, where)


def mark_of(name: str) -> str | None:
    """Whose mark a tensor's name bears, empty where several use it; None for a name that says nothing."""
    last = name.rpartition(".")[2]
    if ".quant_state." in name:
        return "bitsandbytes"
    if ":" in last:
        return "torchao"
    if last.endswith(("_proj_blocks", "_proj_scales")):
        return "MXFP4"
    return _MARKS.get(last)


def _scheme_of_entry(value: Any) -> str | None:
    """The name in an entry of a configuration: `gptq, 4 bits`, `w8a8`."""
    if value is None or value is False:
        return None
    if isinstance(value, str):
        return None if value.strip().lower() in _NO_SCHEME else value
    if not isinstance(value, dict):
        return _UNNAMED
    name = next((str(value[key]) for key in _NAMES if value.get(key) is not None), _UNNAMED)
    if name.strip().lower() in _NO_SCHEME:
        return None
    bits = next((value[key] for key in ("bits", "w_bit", "nbits") if type(value.get(key)) is int), None)
    bits = 4 if value.get("load_in_4bit") is True else 8 if value.get("load_in_8bit") is True else bits
    return name if bits is None else f"{name}, {bits} bits"


def _scheme_of_file(read: Any) -> str | None:
    """The scheme in a tool's file, empty where it names none; None where it says that nothing is quantized."""
    if not isinstance(read, dict):
        return ""
    said = read.get("model_quant_type")
    if said is None and isinstance(read.get("quantization"), dict):
        said = read["quantization"].get("quant_algo")
    if said is None:
        others = {str(value) for value in read.values() if isinstance(value, str)}
        if others and all(value.lower() in _NO_SCHEME for value in others):
            return None
        said = (_scheme_of_entry(read) or "").removeprefix(_UNNAMED).removeprefix(", ")
    return None if str(said).lower() == "float" else str(said)


def _walk(config: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        here = f"{path}.{key}" if path else str(key)
        yield here, value
        if isinstance(value, Mapping) and str(key) not in _CONFIG_KEYS and depth < 20:
            yield from _walk(value, here, depth + 1)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
