"""Text in, text out, with a ported model: see `LlmModelRunner`."""

from porter.runner.answers import Answer, Answers
from porter.runner.model_runner import LlmModelRunner
from porter.runner.refusal import CannotRun
from porter.runner.settings import Settings

__all__ = ["Answer", "Answers", "CannotRun", "LlmModelRunner", "Settings"]
