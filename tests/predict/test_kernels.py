"""What a kernel moves and multiplies, by formulas of our own; how few layers stand for all."""

import itertools
from collections import Counter

import pytest

from porter.predict.chips import CHIPS, chip_named
from porter.predict.duration import COMPUTE, LAUNCH, LINK, MEMORY, Constants, duration
from porter.predict.kernels import ALL_REDUCE, FUSED_ALL_REDUCE, Kernel, Share, experts_touched, kernels_of
from porter.predict.layers import depths, of_all_layers, shortest

ALONE = Share(ranks=1, tokens=4, row=16, head="")


def data(name, shape, dtype="DT_FLOAT16", weight=""):
    return node("Data", name, (), [shape, dtype], kernel=False) | {"weight": weight}


def const(name):
    return node("Const", name, (), [[1], "DT_INT64"], kernel=False)


def node(kind, name, inputs, *outputs, kernel=True, **attributes):
    return {
        "type": kind,
        "name": name,
        "kernel": kernel,
        "inputs": [[each, tensor if ":" in tensor or not tensor else f"{tensor}:0"] for each, tensor in inputs],
        "outputs": list(outputs),
        "attributes": attributes,
    }


def only(nodes, share=ALONE):
    ((kernel, count),) = kernels_of(nodes, share).items()
    assert count == 1
    return kernel


def product(weight="w", name="mm"):
    """(4, 8) by the transpose of a weight (32, 8)."""
    return [
        data("x", [4, 8]),
        data(f"data_{name}", [32, 8], weight=weight),
        node("Transpose", f"t_{name}", [("x", f"data_{name}")], [[8, 32], "float16"], kernel=False),
        node("MatMul", name, [("x1", "x"), ("x2", f"t_{name}"), ("bias", "")], [[4, 32], "float16"]),
    ]


def test_a_product_reads_both_sides_once():
    assert only(product()) == Kernel("MatMul", 2 * (4 * 8 + 32 * 8 + 4 * 32), 2 * 4 * 8 * 32)


def test_the_same_product_twice_is_two_kernels():
    assert kernels_of([*product(), *product("w2", "mm2")[1:]], ALONE) == {only(product()): 2}


def test_a_batch_of_products():
    nodes = [data("q", [6, 3, 8]), data("k", [6, 8, 5])]
    nodes.append(node("BatchMatMul", "b", [("x1", "q"), ("x2", "k")], [[2, 3, 3, 5], "float16"]))
    assert only(nodes).flops == 2 * 6 * 3 * 8 * 5


def test_a_batch_of_products_with_one_matrix():
    nodes = [data("q", [2, 3, 7, 8]), data("k", [8, 5])]
    nodes.append(node("BatchMatMul", "b", [("x1", "q"), ("x2", "k")], [[6, 7, 5], "float16"]))
    assert only(nodes).flops == 2 * 6 * 7 * 8 * 5


@pytest.mark.parametrize(
    ("layout", "queries", "keys"),
    [("BSND", [2, 3, 8, 16], [2, 64, 4, 16]), ("BNSD", [2, 8, 3, 16], [2, 4, 64, 16])],
)
def test_attention_reads_each_kv_head_once_and_multiplies_for_each_query_head(layout, queries, keys):
    nodes = [data("q", queries), data("k", keys), data("v", keys)]
    fed = [("query", "q"), ("key0", "k"), ("value0", "v"), ("atten_mask", "")]
    nodes.append(
        node("FusedInferAttentionScore", "a", fed, [[2, 3, 128], "float16"], [[0], "float32"], input_layout=layout)
    )
    moved = 2 * (2 * 3 * 8 * 16 * 2 + 2 * (2 * 64 * 4 * 16))
    assert only(nodes) == Kernel("FusedInferAttentionScore", moved, 2 * 2 * (2 * 8 * 3 * 64 * 16))


def test_a_lookup_reads_what_it_gives():
    nodes = [data("table", [32000, 8]), data("ids", [4, 1], "DT_INT64"), const("axis")]
    nodes.append(node("GatherV2", "g", [("x", "table"), ("indices", "ids"), ("axis", "axis")], [[4, 1, 8], "float16"]))
    assert only(nodes) == Kernel("GatherV2", 2 * 4 * 8 * 2 + 4 * 8)


def test_a_cache_is_written_where_the_states_go():
    nodes = [data("cache", [4, 2048, 1, 128]), data("at", [4], "DT_INT64"), data("k", [4, 1, 1, 128])]
    fed = [("var", "cache"), ("indices", "at"), ("updates", "k")]
    nodes.append(node("Scatter", "s", fed, [[4, 2048, 1, 128], "float16"]))
    assert only(nodes) == Kernel("Scatter", 2 * 4 * 128 * 2)


def test_what_is_made_of_constants_and_casts_to_the_same_type_cost_nothing():
    nodes = [const("c"), node("Fill", "f", [("dims", "c")], [[9], "float16"]), data("x", [4, 8])]
    nodes.append(node("Muls", "m", [("x", "x")], None))
    nodes.append(node("Cast", "same", [("x", "m")], [[4, 8], "float16"]))
    nodes.append(node("Cast", "other", [("x", "same")], [[4, 8], "float32"]))
    assert kernels_of(nodes, ALONE) == {Kernel("Muls", 2 * 32 * 2): 1, Kernel("Cast", 32 * 2 + 32 * 4): 1}


def test_experts_that_nobody_chose_are_not_read():
    nodes = [data("x", [8, 16]), data("w", [64, 16, 32], weight="experts"), data("g", [64], "DT_INT64")]
    fed = [("x0", "x"), ("weight0", "w"), ("group_list", "g")]
    nodes.append(node("GroupedMatmul", "gm", fed, [[8, 32], "float16"]))
    found = only(nodes)  # 4 tokens, 2 experts each
    touched = 64 * (1 - (62 / 64) ** 4)
    assert found.flops == 2 * 8 * 16 * 32
    assert found.bytes == pytest.approx(2 * (8 * 16 + 8 * 32) + touched * 16 * 32 * 2, abs=2)


def test_how_many_experts_a_batch_touches_is_the_mean_over_all_choices():
    pairs = list(itertools.combinations(range(5), 2))
    counts = [len(set().union(*chosen)) for chosen in itertools.product(pairs, repeat=3)]
    assert experts_touched(3, 2, 5) == pytest.approx(sum(counts) / len(counts))
    assert experts_touched(1, 8, 256) == 8
    assert experts_touched(100_000, 8, 256) == pytest.approx(256)


def test_over_ranks_outputs_are_summed_and_the_head_is_cut():
    nodes = [*product("layers.0.o_proj.weight"), *product("lm_head.weight", "head")[1:]]
    share = Share(ranks=4, tokens=4, row=16, head="lm_head.weight", summed=("layers.0.o_proj",))
    whole = only(product())
    assert kernels_of(nodes, share) == {
        whole: 1,
        Kernel(ALL_REDUCE, summed=4 * 16): 1,
        Kernel("MatMul", whole.bytes // 4, whole.flops // 4): 1,
        Kernel(ALL_REDUCE, summed=4 * 32 * 2): 1,
    }


def test_a_product_and_its_sum_can_be_one_kernel():
    share = Share(4, 4, 16, "", ("layers.0.o_proj",), fused=True)
    whole = only(product())
    assert only(product("layers.0.o_proj.weight"), share) == Kernel(FUSED_ALL_REDUCE, whole.bytes, whole.flops, 64)


@pytest.mark.parametrize(
    "kinds",
    [[0] * 5, [0], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 0, 0, 1, 0], [0, 1, 2]],
    ids=["alike", "one", "dense first", "one dense first", "a pattern", "all apart"],
)
def test_a_few_layers_stand_for_all(kinds):
    """A layer of kind n has n + 1 kernels of its own; a kind's first coming brings a mask, the step an embedding."""

    def whole(layers):
        made = Counter({"embedding": 1})
        for kind in layers:
            made[f"layer {kind}"] += kind + 1
        made.update(f"mask {kind}" for kind in set(layers))
        return made

    for shown in (kinds, [kinds[index] for index in shortest(kinds)]):
        found = {depth: whole(shown[:depth]) for depth in depths(shown)}
        assert of_all_layers(kinds, shown, found) == whole(kinds)


def test_two_layers_of_each_kind_are_lowered():
    assert shortest([0, 0, 0, 0, 0, 1] * 4) == [0, 1, 5, 11]
    assert depths([0, 0, 1, 1]) == [1, 2, 3, 4]
    assert shortest([0] * 80) == [0, 1]


EVEN = Constants(0.5, 0.25, 0.5, 0.5, 1e-6, 9e-6, 2e-6)
CHIP = CHIPS["Ascend910B3"]


@pytest.mark.parametrize(
    ("kernel", "seconds", "bound"),
    [
        (Kernel("MatMul", 16 * 10**9, 1), 16e9 / 0.8e12 + 1e-6, MEMORY),
        (Kernel("Add", 16 * 10**9), 16e9 / 0.4e12 + 1e-6, MEMORY),
        (Kernel("MatMul", 1, 10**13), 1e13 / (20 * 1.8e9 * 8192 / 2) + 1e-6, COMPUTE),
        (Kernel(ALL_REDUCE, summed=8 * 10**9), 2 * 1e9 / 28e9 + 3e-6, LINK),
        (Kernel("Add", 8), 8 / 0.4e12 + 1e-6, LAUNCH),
    ],
)
def test_what_keeps_a_kernel(kernel, seconds, bound):
    found = duration(kernel, CHIP, EVEN, 8)
    assert (found.seconds, found.bound) == (pytest.approx(seconds), bound)


def test_shapes_that_change_are_launched_at_another_cost():
    assert duration(Kernel("Add"), CHIP, EVEN, changing=True).seconds == pytest.approx(9e-6)


def test_chips_are_known_by_the_names_of_drivers():
    assert chip_named("910B4").name == chip_named("Ascend910B4").name == "Ascend910B4"
    assert round(CHIPS["Ascend910B3"].peak / 1e12, 1) == 294.9
    (fault,) = chip_named("Ascend910B9").diagnostics
    assert fault.code == "P118"
    assert "Ascend910B" in fault.help
