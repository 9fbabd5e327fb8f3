"""Decorators that a rewrite knows: what they do does not hang on the function's parameters or body."""

HUB_DECORATORS = frozenset({"use_kernel_forward_from_hub", "use_kernelized_func"})
HARMLESS_DECORATORS = HUB_DECORATORS | {"auto_docstring", "no_grad"}
