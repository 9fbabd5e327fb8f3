"""porter: from a Hugging Face `modeling_*.py` to a reviewed, proved Ascend NPU model file."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`porter.register`, imported when it is asked for: it needs transformers, and porting does not."""
    if name == "register":
        import importlib

        return importlib.import_module("porter.runner.auto_classes").register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
