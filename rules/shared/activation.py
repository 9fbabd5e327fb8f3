"""An activation by its name in the configuration -> a check of that name: the kernel computes silu alone."""

from transformers.activations import ACT2FN


def before_init(self, activation):
    self.act_fn = ACT2FN[activation]


def after_init(self, activation):
    if activation not in ("silu", "swish"):
        raise ValueError(f"npu_swiglu computes silu; this configuration asks for {activation!r}")
