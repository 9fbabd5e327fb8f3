"""What each of two gloo processes does: every case on its own tiny model, results to a file.

One pair of processes runs all cases, because starting one (torch, transformers, DeepSpeed) costs more than the cases.
"""

import datetime
import os
from pathlib import Path
from unittest import mock

import torch
from torch import distributed
from torch.utils._python_dispatch import TorchDispatchMode

from porter.parallel import init_ranks, kv_heads_of_rank, leave_ranks, shard
from porter.runtime import StaticKVCache, left_pad, position_ids_from_mask
from tests.parallel import experts, tiny

WORLD = 2
SLOTS = 32
SUMS = ("_c10d_functional.all_reduce.default", "npu.npu_mm_all_reduce_base.default")


class OpCount(TorchDispatchMode):
    """Counts calls by op name."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[str(func)] = self.calls.get(str(func), 0) + 1
        return func(*args, **(kwargs or {}))


class ExecutedGraphs:
    """aot_eager that keeps, for each graph, how often it ran and its sums over ranks: a graph never run counts 0."""

    def __init__(self):
        self.runs, self.sums = [], []

    def __call__(self, graph, inputs):
        from torch._dynamo.backends.common import aot_autograd

        return aot_autograd(fw_compiler=self.keep)(graph, inputs)

    def keep(self, graph, _inputs):
        index = len(self.runs)
        self.runs.append(0)
        names = [str(node.target) for node in graph.graph.nodes]
        self.sums.append(tuple(names.count(name) for name in SUMS))

        def run(*arguments):
            self.runs[index] += 1
            return graph(*arguments)

        return run

    def executed(self):
        return [(sums, runs) for sums, runs in zip(self.sums, self.runs, strict=True) if runs]


def eager(model):
    """Answers, the shapes of the KV cache, and the sums over ranks in a prefill and in a decode step."""
    results = tiny.answers(model)
    ids, mask = left_pad(tiny.PROMPTS, 0)
    cache, sums = StaticKVCache(model.config, SLOTS), []
    with torch.no_grad():
        for step in (ids, ids[:, -1:]):
            mask = mask if step is ids else torch.nn.functional.pad(mask, (0, 1), value=1)
            with OpCount() as count:
                model(step, attention_mask=mask, past_key_values=cache)
            sums.append((count.calls.get("c10d.allreduce_.default", 0), count.calls.get(SUMS[1], 0)))
    return results | {"kv": tuple(cache.layers[0].keys.shape), "nbytes": cache.nbytes, "sums": sums}


def with_experts(model):
    """What `eager` gives, and the shapes of what is no linear of DeepSpeed's."""
    absorbing = [0]

    def count(*arguments):
        absorbing[0] += 1
        return absorbed(*arguments)

    absorbed = torch.bmm
    with mock.patch.object(torch, "bmm", count):
        results = eager(model)
    named = model.model.layers[-1].named_parameters()
    return results | {"shapes": {name: tuple(weight.shape) for name, weight in named}, "absorbing": absorbing[0]}


@torch.no_grad()
def captured(model):
    """The same answers from compiled steps on a static cache; graphs with their sums over ranks and executions."""
    torch._dynamo.reset()
    graphs = ExecutedGraphs()
    step = torch.compile(model, fullgraph=True, dynamic=False, backend=graphs)
    ids, mask = left_pad(tiny.PROMPTS, 0)
    whole, at = torch.nn.functional.pad(mask, (0, SLOTS - mask.shape[1]), value=1), position_ids_from_mask(mask)
    cache = StaticKVCache(model.config, SLOTS)
    heads, head_dim = kv_heads_of_rank(model.config, WORLD), model.model.layers[0].self_attn.head_dim
    cache.early_initialization(len(ids), heads, head_dim, model.dtype, "cpu")
    cache.reserve(ids.shape[1])
    logits = step(ids, attention_mask=whole, position_ids=at, past_key_values=cache).logits
    tokens, at = [logits[:, -1].argmax(-1, keepdim=True)], at[:, -1:]
    for _ in range(tiny.NEW_TOKENS - 1):
        cache.reserve(1)
        at = at + 1
        last = step(tokens[-1], attention_mask=whole, position_ids=at, past_key_values=cache).logits
        tokens.append(last[:, -1].argmax(-1, keepdim=True))
    return {"logits": logits[mask.bool()], "tokens": torch.cat(tokens, 1), "graphs": graphs.executed()}


def swapped(forward):
    """Answers with another forward in DeepSpeed's row-parallel layers."""
    from deepspeed.module_inject.layers import LinearAllreduce

    model = shard(tiny.port(**tiny.GROUPED), "llama2", WORLD)
    with mock.patch.object(LinearAllreduce, "forward", forward):
        return tiny.answers(model)


def without_reduce(self, x):
    return torch.nn.functional.linear(x, self.weight, self.bias)


def bias_before_reduce(self, x):
    out = torch.nn.functional.linear(x, self.weight, self.bias)
    distributed.all_reduce(out)
    return out


def rows_not_ordered():
    with mock.patch("porter.parallel.inject.order_by_rank"):
        return tiny.answers(shard(tiny.port(**tiny.GROUPED), "llama2", WORLD))


def in_bfloat16():
    model = tiny.port(**tiny.GROUPED)
    for parameter in model.parameters():  # not .bfloat16(), which would cast the frequencies itself
        parameter.data = parameter.data.bfloat16()
    model = shard(model, "llama2", WORLD)
    return {"frequencies": model.model.rotary_emb.inv_freq, "dtype": model.dtype}


def save():
    model = shard(tiny.port(**tiny.GROUPED), "llama2", WORLD)
    try:
        model.save_pretrained("never_written")
    except RuntimeError as error:
        return {"error": str(error)}


def op_with_bias(rank):
    """The bare op in each dtype: both ranks give the bias."""
    out = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x1 = torch.full((2, 3, 4), rank + 1.0, dtype=dtype)
        x2, bias = torch.ones(5, 4, dtype=dtype).t(), torch.full((5,), 0.5, dtype=dtype)
        name = distributed.group.WORLD.group_name
        out[dtype] = torch.ops.npu.npu_mm_all_reduce_base(x1, x2, name, bias=bias)
    return out


def cases(rank, models):
    grouped, plain = (lambda **k: shard(tiny.port(**tiny.GROUPED), "llama2", WORLD, **k)), tiny.PLAIN
    yield "grouped", lambda: eager(grouped())
    yield "plain", lambda: eager(shard(tiny.port(**plain), "llama2", WORLD))
    yield "fused", lambda: eager(grouped(fused_all_reduce=True))
    yield "captured", lambda: captured(grouped())
    yield "fused captured", lambda: captured(grouped(fused_all_reduce=True))
    yield "no all-reduce", lambda: swapped(without_reduce)
    yield "bias before the reduce", lambda: swapped(bias_before_reduce)
    yield "rows not ordered", rows_not_ordered
    yield "bfloat16", in_bfloat16
    for case in experts.SIZES:
        ask = captured if case == experts.IN_ONE_GRAPH else with_experts
        yield case, lambda case=case, ask=ask: ask(experts.sharded(case, models))
    for control in experts.WRONG:
        yield control, lambda control=control: experts.wrong(control, models)
    yield "save", save
    yield "op with bias", lambda: op_with_bias(rank)


def run(rank, folder):
    """Entry of each process."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    limit = datetime.timedelta(hours=1)  # for a peer that is slow: one that fails ends this process
    init_ranks(rank, rank, WORLD, "cpu", timeout=limit, init_method=f"file://{folder}/store")
    results = {name: case() for name, case in cases(rank, Path(folder) / "ports")}
    torch.save(results, f"{folder}/rank{rank}.pt")
    leave_ranks()
