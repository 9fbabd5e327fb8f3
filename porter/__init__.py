"""porter: from a Hugging Face `modeling_*.py` to a reviewed, proved Ascend NPU model file."""

__version__ = "0.1.0"
