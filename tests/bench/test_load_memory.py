"""Loading a sharded checkpoint into merged projections takes no second copy of it."""

import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from porter.bench.load_memory import peak_of_loading
from porter.runtime.registry import default_root


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is Linux's")
def test_a_port_loads_in_the_memory_that_its_source_takes(tmp_path):
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=6,
        num_attention_heads=16,
        num_key_value_heads=4,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    size = sum(parameter.nbytes for parameter in model.parameters())
    model.save_pretrained(tmp_path, max_shard_size="20MB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 4
    port, source = (peak_of_loading(tmp_path, default_root() / "llama2", which) for which in ("port", "source"))
    mega = 2**20
    print(f"weights {size / mega:.0f} MiB; own: port {port.own / mega:.0f}, source {source.own / mega:.0f}", end="; ")
    print(f"resident: port {port.resident / mega:.0f}, source {source.resident / mega:.0f}")
    assert source.resident > 0.9 * size  # else nothing was measured
    attention, mlp = model.model.layers[0].self_attn, model.model.layers[0].mlp
    merged = [attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj]
    of_layer = sum(module.weight.nbytes for module in merged)
    assert port.own > 5 * of_layer
    # merged weights are written once, one layer's at a time; the others stay in the file, as all the source's do
    assert port.own < source.own + 6 * of_layer + 1.5 * of_layer


_COPIES = """
import time, torch
from porter.bench import load_memory

look, looks = load_memory._memory, []
load_memory._memory = lambda: looks.append(None) or look()

def copy():
    whole = torch.ones(64 * 2**20, dtype=torch.uint8)
    both, enough = whole.clone(), len(looks) + 2
    while len(looks) < enough:  # one began after the copy
        time.sleep(0.01)
    return both

print(load_memory.peak_while(copy).own)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is read from Linux")
def test_a_second_copy_would_be_seen():
    """In a process of its own: here, memory freed by other tests would be taken again."""
    done = subprocess.run([sys.executable, "-c", _COPIES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 1.8 * 64 * 2**20
