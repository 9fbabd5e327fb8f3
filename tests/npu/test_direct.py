"""Calls that leave out the dispatcher: the same results, and only where nobody would see the difference."""

import inspect

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from porter.npu import ContractError, attention_product, attention_step, implemented, scatter, torch_npu
from porter.npu.scatter import write_runs_at_once
from tests.error_rule import no_further
from tests.npu.brute import brute, roundings
from tests.npu.test_schema import OPCHECKS, OPTIONS


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(func)
        return func(*args, **(kwargs or {}))


def dispatched(work):
    """Names of the npu ops that went through the dispatcher."""
    with torch.autograd.profiler.profile() as profile:
        work()
    return {event.name for event in profile.function_events if event.name.startswith("npu::")}


def cases():
    return [pytest.param(name, make, OPTIONS.get(name, {}), id=name) for name, make in OPCHECKS.items()]


@pytest.mark.parametrize(("name", "make", "options"), cases())
def test_both_ways_compute_the_same(name, make, options):
    torch.manual_seed(3)
    arguments = make()
    copied = tree_map_only(torch.Tensor, torch.clone, arguments)
    with torch.no_grad():
        ours, op = getattr(torch_npu, name)(*arguments, **options), getattr(torch.ops.npu, name)(*copied, **options)
    torch.testing.assert_close(ours, op, atol=0, rtol=0)
    torch.testing.assert_close(arguments, copied, atol=0, rtol=0)


@pytest.mark.parametrize("name", implemented())
def test_a_kernel_s_defaults_are_the_schema_s(name):
    schema = {argument.name: argument for argument in getattr(torch.ops.npu, name).default._schema.arguments}
    for parameter in inspect.signature(getattr(torch_npu, name)).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            assert parameter.name in schema
            if parameter.default is not parameter.empty:
                assert parameter.default == schema[parameter.name].default_value


def test_only_inference_leaves_the_dispatcher_out():
    x, gamma = torch.randn(2, 3, 16), torch.nn.Parameter(torch.ones(16))

    def norm():
        return torch_npu.npu_rms_norm(x, gamma)

    assert dispatched(norm) == {"npu::npu_rms_norm"}
    with torch.no_grad():
        assert dispatched(norm) == set()
    with torch.inference_mode():
        assert dispatched(norm) == set()


@torch.no_grad()
def test_a_mode_sees_the_op():
    x = torch.ones(2, 4)
    with Seen() as seen:
        torch_npu.npu_swiglu(x)
    assert seen.ops[0] is torch.ops.npu.npu_swiglu.default


@torch.no_grad()
def test_tensors_that_stand_for_others_get_the_fake_kernel():
    with FakeTensorMode():
        fake = torch.ones(2, 4)
    assert torch_npu.npu_swiglu(fake).shape == (2, 2)
    assert torch_npu.npu_swiglu(torch.ones(2, 4, device="meta")).device.type == "meta"


@torch.no_grad()
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: torch_npu.npu_fused_infer_attention_score(x, x, x, num_head=2), RuntimeError, "num_head"),
        (lambda x: torch_npu.npu_swiglu(x, dims=1), RuntimeError, "dims"),
        (lambda x: torch_npu.npu_swiglu(), RuntimeError, "input"),
        (lambda x: torch_npu.npu_swiglu(x.int()), ContractError, "torch.int32"),
    ],
)
def test_errors_are_those_of_the_op(call, error, text):
    with pytest.raises(error, match=text):
        call(torch.ones(1, 2, 8))


@torch.no_grad()
@pytest.mark.parametrize("trace", ["jit", "make_fx", "make_fx before dispatch", "vmap", "function mode"])
def test_who_traces_or_transforms_sees_the_op(trace):
    x, seen = torch.randn(3, 4), []

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    if trace == "jit":
        seen = [node.kind() for node in torch.jit.trace(torch_npu.npu_swiglu, (x,)).graph.nodes()]
    elif trace.startswith("make_fx"):
        graph = make_fx(lambda x: torch_npu.npu_swiglu(x), pre_dispatch="before" in trace)(x)
        seen = [str(node.target) for node in graph.graph.nodes]
    elif trace == "vmap":
        seen = dispatched(lambda: torch.vmap(torch_npu.npu_swiglu)(x))
    else:
        with Watching():
            torch_npu.npu_swiglu(x)
    assert any("npu" in name and "npu_swiglu" in name for name in seen)


@torch.no_grad()
def test_the_first_argument_may_be_named():
    x = torch.randn(2, 4)
    assert torch.equal(torch_npu.npu_swiglu(input=x), torch_npu.npu_swiglu(x))


@torch.no_grad()
@pytest.mark.parametrize(("name", "make", "options"), [case for case in cases() if "scatter" not in case.id])
def test_on_another_device_a_kernel_waits_for_no_value(name, make, options):
    """Of fake tensors a kernel can read no value: it would be an error."""
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"npu::{name}", "CUDA")
    drawn = make()
    with FakeTensorMode() as mode:
        arguments, options = tree_map_only(
            torch.Tensor, lambda drawn: torch.empty(drawn.shape, dtype=drawn.dtype, device="cuda"), (drawn, options)
        )
        result = getattr(torch_npu, name).__wrapped__(*arguments, **options)
    for tensor in result if isinstance(result, (tuple, list)) else (result,):
        assert tensor.fake_mode is mode and tensor.device.type == "cuda"


@torch.no_grad()
def test_a_decode_step_on_another_device_waits_for_no_value():
    with FakeTensorMode():
        states, positions = torch.empty(2, 9, 2, 16), torch.empty(2, dtype=torch.int64)
        assert write_runs_at_once(states, positions, states[:, :1], 1) is states
        q, cache = torch.empty(2, 1, 4, 16, device="cuda"), torch.empty(2, 9, 2, 16, device="cuda")
        mask = torch.empty(2, 1, 1, 9, dtype=torch.bool, device="cuda")
        out, _ = torch_npu.npu_fused_infer_attention_score.__wrapped__(
            q, cache, cache, atten_mask=mask, actual_seq_lengths_kv=[5, 5], num_heads=4, num_key_value_heads=2,
            input_layout="BSND",
        )  # fmt: skip
    assert out.shape == q.shape and out.device.type == "cuda"


def masks(length, slots):
    causal = torch.ones(length, slots, dtype=torch.bool).triu(1 + slots - length)
    padded = causal | (torch.arange(slots) < 2) & (torch.arange(slots) != torch.arange(length)[:, None])
    return {
        "none": None,
        "causal": causal.expand(2, 1, -1, -1),
        "upper left": torch.ones(length, slots, dtype=torch.bool).triu(1).expand(2, 1, -1, -1),
        "padded": torch.stack((causal, padded))[:, None],
        "of numbers": causal.expand(2, 1, -1, -1).to(torch.uint8),
    }


@torch.no_grad()
@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("lengths", [None, [6, 6], [6], [6, 4], (6, 6), [6, 6, 1]], ids=str)
@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_by_the_short_way_is_that_by_the_general_one(mask, lengths, length, kv_heads, dtype):
    """An option at its default makes the op take the general way. The short one may leave out what no query sees, which
    is another order of summing."""
    torch.manual_seed(5)
    q = torch.randn(2, length, 4, 16).to(dtype)
    k, v = torch.randn(2, 2, 9, kv_heads, 16).to(dtype)
    options = {
        "num_heads": 4,
        "num_key_value_heads": kv_heads,
        "scale": 0.25,
        "input_layout": "BSND",
        "atten_mask": masks(length, 9)[mask],
        "actual_seq_lengths_kv": lengths,
    }
    short, general = (
        torch_npu.npu_fused_infer_attention_score(q, k, v, **options, **more) for more in ({}, {"sparse_mode": 0})
    )
    visible = torch.ones(2, length, 9, dtype=torch.bool)
    if options["atten_mask"] is not None:
        visible = ~options["atten_mask"][:, 0].bool()
    for row, end in enumerate((list(lengths or [9]) * 2)[:2]):
        visible[row, :, end:] = False
    truth, _ = brute(q.double(), k.double(), v.double(), ~visible, 0.25)
    no_further(short[0], general[0], truth, roundings(q, k) if dtype == torch.float32 else 3)
    assert short[0].is_contiguous() and torch.equal(short[1], general[1])


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[6, 6], [], [6, 6, 10], [0, -1, 6]], ids=str)
@pytest.mark.parametrize("more", [{}, {"sparse_mode": 0}], ids=["short way", "general way"])
def test_lengths_that_the_contract_forbids_are_refused_by_both_ways(lengths, more):
    states = torch.randn(3, 9, 2, 16)
    options = {"num_heads": 2, "input_layout": "BSND", "actual_seq_lengths_kv": lengths, **more}
    with pytest.raises(ContractError, match="actual_seq_lengths_kv"):
        torch_npu.npu_fused_infer_attention_score(states[:, :1], states, states, **options)


@torch.no_grad()
@pytest.mark.parametrize(("length", "slots", "rows"), [(6, 6, 1), (6, 9, 1), (5, 5, 2), (4097, 4097, 1)])
def test_a_causal_mask_is_seen_as_one(monkeypatch, length, slots, rows):
    calls, sdpa = [], attention_product._sdpa
    monkeypatch.setattr(attention_product, "_sdpa", lambda *states, **how: calls.append(how) or sdpa(*states, **how))
    states = torch.randn(rows, slots, 1, 16)
    causal = torch.ones(rows, 1, length, slots, dtype=torch.bool).triu(1)
    padded, blind = causal.clone(), causal.clone()
    padded[-1, 0, -1, 0] = True
    blind[-1, 0, 0, 1] = False
    more = {"input_layout": "BSND", "actual_seq_lengths_kv": [length] * rows}
    for mask in (causal, padded, blind):
        torch_npu.npu_fused_infer_attention_score(states[:, :length], states, states, atten_mask=mask, **more)
    assert [bool(how.get("is_causal")) for how in calls] == [True, False, False]
    assert len(attention_step._triangle) <= 4096 * 4096


@torch.no_grad()
def test_only_the_first_argument_is_known_to_be_plain():
    """Masks and tables that stand for others have no values to look at."""
    mask, table = torch.ones(6, 6, dtype=torch.bool).triu(1)[None, None], torch.randn(1, 6, 1, 16, dtype=torch.bfloat16)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    mask, table = mode.from_tensor(mask), mode.from_tensor(table)
    states = torch.randn(1, 6, 2, 16)
    options = {"num_heads": 2, "input_layout": "BSND", "atten_mask": mask}
    attended, _ = torch_npu.npu_fused_infer_attention_score(states, states, states, **options)
    rotated = torch_npu.npu_rotary_mul(states.bfloat16(), table, table)
    assert isinstance(attended, FakeTensor) and isinstance(rotated, FakeTensor)


@torch.no_grad()
def test_heads_that_share_no_key_attend_in_float32(monkeypatch):
    seen, sdpa = [], attention_product._sdpa
    monkeypatch.setattr(attention_product, "_sdpa", lambda q, *kv, **how: seen.append(q.dtype) or sdpa(q, *kv, **how))
    q, cache = torch.randn(1, 1, 4, 16).bfloat16(), torch.randn(1, 9, 4, 16).bfloat16()
    for heads in (4, 2):
        torch_npu.npu_fused_infer_attention_score(
            q, cache[:, :, :heads], cache[:, :, :heads], num_heads=4, num_key_value_heads=heads, input_layout="BSND"
        )
    assert seen == [torch.float32, torch.bfloat16]


@torch.no_grad()
def test_a_cache_on_another_device_is_written_at_once(monkeypatch):
    at_once = []
    monkeypatch.setattr(scatter, "write_runs_at_once", lambda cache, *others: at_once.append(cache) or cache)
    cache, positions = torch.zeros(2, 4, 3), torch.zeros(2, dtype=torch.int64)
    torch_npu.scatter_update_(cache, positions, torch.ones(2, 1, 3), 1)
    assert not at_once and cache.any()
    with FakeTensorMode():
        elsewhere = torch.empty(2, 4, 3, device="cuda")
        places = torch.empty(2, dtype=torch.int64, device="cuda")
        torch_npu.scatter_update_.__wrapped__(elsewhere, places, elsewhere.narrow(1, 0, 1), 1)
    assert len(at_once) == 1 and at_once[0] is elsewhere
