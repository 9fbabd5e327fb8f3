"""A block that hands tokens to its router and its experts -> as it is: what there is to compute is theirs

Why:      the router and the experts are sites of their own, and so are shared experts. What is left are views, which
          cost nothing, and the addition of what the shared experts give.
Numerics: the source's own. (npu_moe_finalize_routing could add what the shared experts give, and would round once where
          the source rounds twice; it would take them into the experts' own call, which hooks and adapters see.)
Contract: what the router chooses goes to the experts alone. Noise on the tokens is for training only.
"""

import torch
from torch.nn import functional as F

from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(Edit(site="moe.forward", unit="function", answers=("moe",)),),
    attributes=("router", "shared", "noise", "shared_gate", "factor", "bias", "wide", "norm", "count", "strategy"),
    splits={"router": ("whole", 0), "shared_gate": ("whole", 0)},
)


def before(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    return self.experts(tokens, chosen, shares).reshape(batch, length, width)


def before__anew(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    batch, length, width = x.size()
    tokens = x.reshape(-1, width)
    _, shares, chosen = self.router(tokens)
    return self.experts(tokens, chosen, shares).view(batch, length, self.input_size)


def before__with_shares(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    batch, length, width = x.shape
    x = x.reshape(-1, width)
    _, shares, chosen = self.router(x)
    x = self.experts(x, chosen, shares)
    x = x.reshape(batch, length, width)
    return x, shares


def before__noise(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    batch, length, width = x.shape
    if self.training and self.noise > 0:
        x *= torch.empty_like(x).uniform_(1.0 - self.noise, 1.0 + self.noise)
    x = x.view(-1, x.shape[-1])
    _, shares, chosen = self.router(x)
    x = self.experts(x, chosen, shares)
    x = x.reshape(batch, length, width)
    return x


def before__noise_anew(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    batch, length, width = x.shape
    if self.training and self.noise > 0:
        x *= torch.empty_like(x).uniform_(1.0 - self.noise, 1.0 + self.noise)
    batch, length, width = x.shape
    x = x.reshape(-1, width)
    _, shares, chosen = self.router(x)
    routed = self.experts(x, chosen, shares)
    return routed.reshape(batch, length, width)


def before__noise_biased(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    batch, length, width = x.shape
    if self.training and self.noise > 0:
        x *= torch.empty_like(x).uniform_(1.0 - self.noise, 1.0 + self.noise)
    x = x.view(-1, x.shape[-1])
    _, shares, chosen = self.router(x, self.bias)
    x = self.experts(x, chosen, shares)
    x = x.reshape(batch, length, width)
    return x


def before__shared(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    shape = x.shape
    _, shares, chosen = self.router(x)
    routed = self.experts(x.view(-1, x.shape[-1]), chosen, shares).view(*shape)
    return routed + self.shared(x)


def before__alone(self, x: Argument):
    """what there is to compute is the router's and the experts'"""
    shape = x.shape
    _, shares, chosen = self.router(x)
    return self.experts(x.view(-1, x.shape[-1]), chosen, shares).view(*shape)


def before__shared_normed(self, x: Argument):
    """what there is to compute is the router's, the experts' and the norm's, shared experts among them"""
    shape = x.shape
    _, shares, chosen = self.router(x)
    routed = self.experts(x.view(-1, x.shape[-1]), chosen, shares).view(*shape)
    return self.norm(routed + self.shared(x))


def before__shared_gated(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones with a gate among them"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    routed = self.experts(tokens, chosen, shares)
    shared = F.sigmoid(self.shared_gate(tokens)) * self.shared(tokens)
    return (routed + shared).reshape(batch, length, width)


def before__shared_scaled(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    routed = self.experts(tokens, chosen, shares) * self.factor
    return (routed + self.shared(tokens)).reshape(batch, length, width)


def before__shared_flat(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    routed = self.experts(tokens, chosen, shares)
    return (routed + self.shared(tokens)).reshape(batch, length, width)


def before__shared_whole(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    return self.experts(tokens, chosen, shares).reshape(batch, length, width) + self.shared(x)


def before__shared_seen(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    shape = x.shape
    tokens = x.view(-1, x.shape[-1])
    _, shares, chosen = self.router(tokens)
    routed = self.experts(tokens, chosen, shares).view(shape)
    return routed + self.shared(tokens.view(shape))


def before__shared_biased(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(x, self.bias)
    shared = self.shared(tokens).view(batch, length, width)
    return shared + self.experts(tokens, chosen, shares).view(batch, length, width)


def before__shared_wide(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, width = x.shape
    x = x.view(-1, width)
    _, shares, chosen = self.router(x, self.bias)
    routed = self.experts(x, chosen, shares)
    if self.wide:
        x = (routed.float() + self.shared(x).float()).to(x.dtype)
    else:
        x = routed + self.shared(x)
    return x.reshape(batch, length, width)


def before__shared_or_none(self, x: Argument):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, _ = x.shape
    x = x.view(-1, self.hidden_dim)
    if self.shared is not None:
        extra = self.shared(x)
    _, shares, chosen = self.router(x)
    routed = self.experts(x, chosen, shares)
    if self.shared is not None:
        routed = routed + extra
    routed = routed.reshape(batch, length, self.hidden_dim)
    return routed.to(x.dtype)


def before__shared_if_any(self, x: Argument, error):
    """what there is to compute is the router's and the experts', shared ones among them"""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    routed = self.experts(tokens, chosen, shares)
    if self.count > 0:
        extra = self.shared(tokens)
        if self.strategy == "sum":
            routed = routed + extra
        elif self.strategy == "average":
            routed = (routed + extra) / 2
        else:
            raise error
    return routed.reshape(batch, length, width)


def not_that_looks_at_what_is_chosen(self, x):
    """The router's indices are no longer what they were: only the experts may have them."""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    shares = shares * self.scales.gather(0, chosen)
    return self.experts(tokens, chosen, shares).reshape(batch, length, width)


def not_of_one_product(self, x):
    """The experts' work, done here."""
    batch, length, width = x.shape
    tokens = x.view(-1, width)
    _, shares, chosen = self.router(tokens)
    routed = sum(expert(tokens) * share for expert, share in zip(self.experts, shares.unbind(-1)))
    return routed.reshape(batch, length, width)


def not_that_gives_the_choice_away(self, x):
    """Who gets the router's indices beside the experts is not known."""
    batch, length, width = x.shape
    tokens = x.reshape(-1, width)
    _, shares, chosen = self.router(tokens)
    return self.experts(tokens, chosen, shares).reshape(batch, length, width), chosen
