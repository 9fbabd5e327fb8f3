"""What each GE operator computes, by its prototype in CANN, as PyTorch code: a file a family.

    arithmetic   element by element: sums, products, functions, comparisons, casts
    shapes       what moves no number or only moves them: reshape, transpose, slices, concatenation
    lookups      by index: gather, and what is written in place
    reductions   over axes: sums, top k, softmax
    products     matrix products, also grouped ones
    decoder      the fused operators of a decoder: norms, rotary, attention, gated activations
    experts      routers, and rows on their way to experts and back

Names of parameters are the prototypes' own (`porter.graph.call`). The fused operators compute as their op in
`porter.npu` does, with its limits; float32 attention is allowed here as there, for proofs.
"""

from porter.graph.call import Kernel
from porter.graph.kernels import arithmetic, decoder, experts, lookups, products, reductions, shapes

KERNELS: dict[str, Kernel] = {
    **arithmetic.KERNELS,
    **shapes.KERNELS,
    **lookups.KERNELS,
    **reductions.KERNELS,
    **products.KERNELS,
    **decoder.KERNELS,
    **experts.KERNELS,
}
