"""Whatever is done to a checkpoint's files, a run ends with the source's tokens or with CannotRun: nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import LlamaForCausalLM
from transformers.utils import logging

from porter.runner import CannotRun
from tests.runner.damage import INDEX, take_tensors

BUDGET = int(os.environ.get("PORTER_DAMAGES", "120"))  # examples; more to search longer by hand
PROMPT = "the license"
SMALL = ("config.json", INDEX, "generation_config.json", "tokenizer_config.json")
NUMBERS = (True, -1, 0, 1, 3, 7, 64, 2**31, 2**70, 0.5, -0.0, float("nan"), float("inf"))
ODD = (None, *NUMBERS, "", "x", "silu", [], [0], {}, {"a": 1})
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
DTYPES = (*FLOATS, torch.int8, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn)
SHAPES = ("same", "rows", "columns", "flat", "none", "twice")
PUT = st.one_of(st.just(b""), st.binary(max_size=6), st.sampled_from([b'"', b"}", b",", b"0", b"null"]))

places = st.floats(0, 1, exclude_max=True)


def cut(data: bytes, where: float, length: int, put: bytes) -> bytes:
    """`length` bytes at that share of the data replaced."""
    start = int(where * len(data))
    return data[:start] + put + data[start + length :]


@st.composite
def damages(draw):
    """A change of a folder, as plain data that says what it is when it fails."""
    kind = draw(st.sampled_from(["bytes", "header", "shard", "entry", "map", "drop", "rename", "tensor"]))
    where, put, length = draw(places), draw(PUT), draw(st.integers(0, 40))
    if kind == "bytes":
        return kind, draw(st.sampled_from(SMALL)), where, length, put
    if kind in ("header", "shard"):
        return kind, draw(places), where, length, put
    if kind in ("entry", "map"):
        return kind, where, draw(st.sampled_from(ODD))
    if kind == "tensor":
        return kind, where, draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES))
    return kind, where, draw(st.sampled_from(["x", "weight_scale", "bias", "model.", "0"]))


def apply(folder: Path, damage) -> None:
    kind, *how = damage
    if kind == "bytes":
        file = folder / how[0]
        file.write_bytes(cut(file.read_bytes(), *how[1:]))
    elif kind in ("header", "shard"):
        shards = sorted(folder.glob("model-*.safetensors"))
        file = shards[int(how[0] * len(shards))]
        data = file.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little") if kind == "header" else len(data)
        file.write_bytes(cut(data[:end], *how[1:]) + data[end:])
    elif kind == "entry":
        file = folder / "config.json"
        read = json.loads(file.read_text())
        read[sorted(read)[int(how[0] * len(read))]] = how[1]
        file.write_text(json.dumps(read))
    elif kind == "map":
        read = json.loads((folder / INDEX).read_text())
        names = sorted(read["weight_map"])
        read["weight_map"][names[int(how[0] * len(names))]] = how[1]
        (folder / INDEX).write_text(json.dumps(read))
    else:
        held = take_tensors(folder)
        name = sorted(held)[int(how[0] * len(held))]
        tensor = held.pop(name)
        if kind == "rename":
            owner, _, last = name.rpartition(".")
            held[f"{owner}.{how[1]}" if how[1] != "0" else f"{owner}.{last}.0"] = tensor
        elif kind == "tensor":
            shapes = {
                "same": lambda: tensor,
                "rows": lambda: tensor[1:],
                "columns": lambda: tensor[..., 1:],
                "flat": lambda: tensor.flatten(),
                "none": lambda: tensor[:0],
                "twice": lambda: torch.cat([tensor, tensor]),
            }
            held[name] = shapes[how[2]]().to(how[1]).contiguous()
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def tokens_of_source(folder: Path, tokenizer) -> list[int]:
    inputs = tokenizer([PROMPT], return_tensors="pt")
    model = LlamaForCausalLM.from_pretrained(folder)
    return model.generate(**inputs, max_new_tokens=4)[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.fixture(scope="module", autouse=True)
def silent():
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    yield
    logging.set_verbosity(level)


@settings(
    max_examples=BUDGET,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damage=damages())
def test_a_damaged_checkpoint_gives_the_sources_tokens_or_one_error(runner, checkpoint, tmp_path, damage):
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoint, folder)
    apply(folder, damage)
    made = runner(folder, max_new_tokens=4)
    try:
        (answer,) = made.execute_model(PROMPT)
    except CannotRun as refused:
        assert refused.diagnostic.code and refused.diagnostic.message
        return
    assert list(answer.token_ids) == tokens_of_source(folder, made.tokenizer)
