"""What people saw on real devices, from public reports, with what they mean for a port that uses the form.

Contract: nothing here was reproduced by porter. A report is a warning for a port that uses the form, and a probe, which
says of the device at hand whether it does what was seen: `differs` is the report come true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from porter.accept import report_probes as probes
from porter.accept.calls import Call, TensorOf
from porter.accept.probe import REPORTS, Probe, Say
from porter.accept.report_probes import At
from porter.npu.attention_contract import OP

Uses = Callable[[Call], bool]
_PAST = 512  # positions of keys up to which a mask of one row was seen to be heeded


@dataclass(frozen=True)
class Report:
    """`seen`: by whom and on what; `form`: what was called, and what came of it; `means`: for a port."""

    name: str
    seen: str
    form: str
    means: str
    uses: Uses
    work: Callable[[At, Say], None] | None = field(default=None, compare=False)
    augmented: bool = False  # the form is `x += y` in the port's text, no call of an op


def _is(*names: str) -> Uses:
    return lambda call: call.name in names


def _nowhere(call: Call) -> bool:
    return False


def _attention(holds: Callable[[Call], bool]) -> Uses:
    return lambda call: call.name == OP and holds(call)


def _mask(call: Call) -> TensorOf | None:
    found = call.arguments.get("atten_mask")
    return found if isinstance(found, TensorOf) else None


def _masks_one_row(call: Call) -> bool:
    mask = _mask(call)
    return mask is not None and call.situation.queries == 1 and mask.shape[-1] > _PAST


def _by_heads(call: Call) -> bool:
    table = call.arguments.get("r1")
    return isinstance(table, TensorOf) and len(table.shape) == 4 and table.shape[1] == 1 and table.shape[2] > 1


def _layout(name: str) -> Uses:
    return _attention(lambda call: call.arguments.get("input_layout") == name)


REPORTED = (
    Report(
        "mask of one row",
        "vllm-ascend #15503, open: 910, torch_npu 2.10, bfloat16, 12 heads of 64, paged decode",
        "a bool mask (1, 1, 1, KV) of one query in sparse_mode 0 is ignored past KV position 512, without an error",
        "A compiled or padded decode has such a mask; in a compiled one it is all there is. If the device does this, "
        "steps of left-padded prompts, and compiled steps, read what they must not, past 512 positions.",
        _attention(_masks_one_row),
        probes.mask_of_one_row,
    ),
    Report(
        "pse_shift of one head",
        "vllm-ascend #15503, open: 910, torch_npu 2.10",
        "a pse_shift (1, 1, 1, KV) is wrong at every length, (1, N, 1, KV) right",
        "Ports with ALiBi give (1, N, 1, KV): it must agree.",
        _attention(lambda call: call.arguments.get("pse_shift") is not None),
        probes.shift_of_scores,
    ),
    Report(
        "TND without a mask",
        "vllm-ascend #13699: 910, torch 2.10, float16; #8045: D 128 refused in some releases, 192 and 128 asked for",
        "layout TND in sparse_mode 0 without a mask gives the uniform average",
        "No rule writes TND; an own rule that does must give a mask or a sparse mode.",
        _layout("TND"),
        probes.ragged,
    ),
    Report(
        "mask of another form",
        "vllm-ascend #8387",
        "a mask of another form than the sparse mode asks for is taken without an error",
        "Porter checks both together; the device may not.",
        _attention(lambda call: _mask(call) is not None and call.arguments.get("sparse_mode", 0) > 1),
        probes.mask_of_another_form,
    ),
    Report(
        "mask of every head",
        "diffusers #14380",
        "a mask (B, N, 1, KV) is not broadcast over queries; npu_rms_norm needs a gamma",
        "Ports give masks of one head, and ones where a norm has no weight.",
        _attention(lambda call: (mask := _mask(call)) is not None and len(mask.shape) == 4 and mask.shape[1] > 1),
        probes.mask_of_every_head,
    ),
    Report(
        "rotary in BNSD",
        "ms-swift #9329: CANN of early 2026",
        "npu_rotary_mul in BNSD with a large B x N, or D not aligned: error 561002",
        "Ports rotate in BSND; a source that stays in BNSD would meet it.",
        lambda call: call.name == "npu_rotary_mul" and _by_heads(call),
        probes.rotary_by_heads,
    ),
    Report(
        "npu_mrope",
        "vllm-ascend #12765, open: torch 2.10",
        "npu_mrope rotates halves whatever the model's style is",
        "No rule writes it.",
        _is("npu_mrope"),
    ),
    Report(
        "x += y in a graph",
        "vllm-ascend #6182, #6258: ACL graphs",
        "`x += y` on a tensor in a captured graph gives wrong values without an error, `add_` right ones",
        "Code of the source that no rule took may add so: look for it in the port where this differs.",
        _nowhere,
        probes.sum_in_place,
        augmented=True,
    ),
    Report(
        "more than 1,024 tokens to a router",
        "vllm-ascend #11391: 310P",
        "npu_moe_gating_top_k_softmax gives invalid experts and inf past 1,024 tokens",
        "A prefill of a batch passes that at once.",
        lambda call: call.name == "npu_moe_gating_top_k_softmax" and call.tensors[0].shape[:-1] > (1024,),
        probes.many_tokens_routed,
    ),
    Report(
        "active_num of a shape",
        "vllm-ascend #2224: ACL graphs",
        "active_num of the routing op read from a shape breaks the capture",
        "Ports give the number of choices, which is a shape: constant in a graph of fixed sizes.",
        _is("npu_moe_init_routing", "npu_moe_init_routing_v2"),
        probes.active_rows_of_a_shape,
    ),
    Report(
        "experts of a rank",
        "vllm-ascend #9007, open: 910B",
        "npu_grouped_matmul with the experts of one rank: dimension mismatch",
        "Ports cut experts along their width and keep all of them on a rank; groups may be empty.",
        _nowhere,
        probes.experts_of_a_rank,
    ),
    Report(
        "npu_kv_rmsnorm_rope_cache",
        "vllm-ascend #657: after an update of CANN",
        "the op returns another number of values",
        "No rule writes it.",
        _is("npu_kv_rmsnorm_rope_cache"),
        probes.returns_of_the_latent_op,
    ),
    Report(
        "KV cache in NZ",
        "vllm-ascend #3066: TorchAir",
        "a KV cache in the format NZ gives inaccurate tokens",
        "A port's cache is ND.",
        _nowhere,
        probes.format_of_the_cache,
    ),
    Report(
        "writes that write nothing",
        "dlinfer #158: 310P, CANN 8.0 alpha",
        "npu_scatter_nd_update_ writes nothing",
        "A cache that is not written answers as if there had been no prompt.",
        _is("npu_scatter_nd_update_"),
        probes.writes_read_back,
    ),
    Report(
        "float16 overflows",
        "vllm-ascend #6332, open: CANN 8.3",
        "float16 gives NaN where a GPU does not",
        "Run such a checkpoint in bfloat16 where this differs.",
        lambda call: call.dtype == "float16",
        probes.range_of_half,
    ),
    Report(
        "padding that is not finite",
        "vllm #39593: CUDA, by the same way",
        "NaN in rows of padding reaches the router, which then picks one expert k times",
        "A port's rows of padding see themselves, so they are finite.",
        _is("npu_moe_gating_top_k_softmax", "npu_moe_gating_top_k"),
        probes.padding_stays_finite,
    ),
)


def report_probes(calls: Sequence[Call], file: Path, at: At) -> Iterator[Probe]:
    """A probe for each report, which says where the port, whose model is in `file`, uses the form."""
    for report in REPORTED:
        used = users(report, calls, file)
        whether = f"This port uses the form: {used}." if used else "This port does not use the form."
        about = f"{report.seen}: {report.form}. {report.means} {whether}"
        work = None if report.work is None else partial(report.work, at)
        reason = "porter has no kernel of this op, and no rule writes it"
        yield Probe(f"report: {report.name}", REPORTS, report.name, work, reason, about, used=bool(used))


def users(report: Report, calls: Sequence[Call], file: Path) -> str:
    """Where a port uses the form of a report; empty where it does not."""
    found = dict.fromkeys(f"{call.name} in `{call.situation.name}`" for call in calls if report.uses(call))
    if report.augmented:
        found |= dict.fromkeys(augmented_sums(file))
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return ", ".join(list(found)[:2]) + more


def augmented_sums(file: Path) -> Iterator[str]:
    """Each `x += y` of a module that adds no plain number: whether x is a tensor is not known."""
    tree = MetadataWrapper(cst.parse_module(file.read_bytes()), unsafe_skip_copy=True)
    places = tree.resolve(PositionProvider)
    for node in (node for node in places if isinstance(node, cst.AugAssign)):
        if isinstance(node.operator, cst.AddAssign) and not isinstance(node.value, cst.BaseNumber):
            yield f"`{cst.Module([]).code_for_node(node)}` in line {places[node].start.line}"


def warnings(calls: Sequence[Call], file: Path) -> Iterator[str]:
    """A line for each report whose form the port uses."""
    for report in REPORTED:
        used = users(report, calls, file)
        if used:
            yield f"{report.name}: {report.form} ({report.seen}). Used by {used}"

