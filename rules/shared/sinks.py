"""Sinks that a module keeps: its configuration is known when they are made, and sdpa, which drops them, is refused."""


def before_init(self, config, sinks):
    self.config = config
    ...
    self.sinks = sinks


def after_init(self, config, sinks):
    self.config = config
    ...
    self.sinks = sinks
    if config._attn_implementation == "sdpa":
        raise ValueError("sdpa drops the sinks that a port computes: load with attn_implementation='eager'")


def not_init_in_another_order(self, config, sinks):
    """What the configuration says is not known yet."""
    self.sinks = sinks
    self.config = config
