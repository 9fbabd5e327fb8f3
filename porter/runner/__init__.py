"""Text in, text out, with a ported model: see `LlmModelRunner`.

Takes:    the name of a port, a checkpoint, prompts.
Gives:    text.
Imported: by `bench`, `cli` and run scripts. It needs `runtime` and `parallel`.
"""

from porter.runner.answers import Answer, Answers
from porter.runner.model_runner import LlmModelRunner
from porter.runner.refusal import CannotRun
from porter.runner.settings import Settings

__all__ = ["Answer", "Answers", "CannotRun", "LlmModelRunner", "Settings"]
