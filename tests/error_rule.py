"""How tests compare two float results that a machine may round differently: by a truth in fp64, never with each other.

Which of two orders of summing comes out nearer to the truth is chance, another on each CPU, and so is the worst single
element. So: the root mean square of a result's errors over a tensor may be as large as that of the code it stands for,
or as the random walk of its own roundings, whichever is more. n roundings in a row, each of half an ulp at most, lead
to the root of n half-ulps (Higham and Mary, "A new approach to probabilistic rounding error analysis"); `roundings` is
that n for the longest way to one element, additions counted one by one, as the least favourable order makes them.

`torch.equal` is for what is the same to the bit by construction: the same ops on the same shapes and strides, sums and
products of single elements, copies.
"""

import copy

import torch

from porter.verify.float64 import InFloat64


def no_further(found, source, truth, roundings):
    """Assert the rule. found, source: results in one dtype; truth: fp64, of their shape."""
    assert found.dtype == source.dtype and found.shape == truth.shape == source.shape and truth.dtype == torch.float64
    assert found.numel() and found.isfinite().all()
    half_ulp = torch.finfo(found.dtype).eps / 2
    walk = roundings**0.5 * half_ulp * float(rms(truth))
    error, allowed = float(rms(found.double() - truth)), max(float(rms(source.double() - truth)), walk)
    assert error <= allowed, f"rms error {error:.3e}, allowed {allowed:.3e} ({roundings} roundings walk {walk:.3e})"


def rms(values):
    return values.detach().double().square().mean().sqrt()


def truth_of(model):
    """The model in fp64, its float32 detours included; called like the model."""
    wide = copy.deepcopy(model).double()

    def ask(*arguments, **named):
        with torch.no_grad(), InFloat64():
            return wide(*arguments, **named)

    return ask


def model_roundings(config, positions):
    """Of a decoder's logits: in each layer two norms and the products with q/k/v, o, gate/up and down, scores and their
    sum over `positions`; then the head's."""
    width = config.hidden_size
    head_dim = getattr(config, "head_dim", None) or width // config.num_attention_heads
    layer = 2 * width + width + head_dim + positions + config.num_attention_heads * head_dim + width
    return config.num_hidden_layers * (layer + config.intermediate_size) + 2 * width


def surely_chosen(logits, roundings):
    """Assert that no greedy choice is a toss-up: the best logit leads by more than rounding could take away.

    logits: (..., V) of every step, float32. An element may be 8 times as far off as the root mean square.
    """
    best = logits.double().topk(2).values
    lead = float((best[..., 0] - best[..., 1]).min())
    walk = roundings**0.5 * torch.finfo(torch.float32).eps / 2 * float(rms(logits))
    assert lead > 2 * 8 * walk, f"the closest choice leads by {lead:.1e}, which rounding can turn: draw other weights"
