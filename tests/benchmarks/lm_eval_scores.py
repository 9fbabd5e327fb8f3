"""lm-eval's scores of a checkpoint by its source and by its port, on three local tasks of one of porter's pages.

    python tests/benchmarks/lm_eval_scores.py CHECKPOINT [--port NAME]

CHECKPOINT: what `python -m porter.bench.demo_checkpoint` writes. Needs `pip install lm-eval`, which is none of porter's
requirements; nothing is fetched. Exit 1 where a score or an answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import porter
from porter.bench.demo_checkpoint import PAGE

ROWS = 60
WORDS = 16  # of a piece
DATA = "dataset_path: json\ndataset_kwargs: {{data_files: {{test: {file}}}}}\ntest_split: test\n"
TASKS = {
    "choice": 'output_type: multiple_choice\ndoc_to_text: "{{context}}"\ndoc_to_choice: "{{choices}}"\n'
    "doc_to_target: gold\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n",
    "continuation": 'output_type: generate_until\ndoc_to_text: "{{context}}"\ndoc_to_target: "{{word}}"\n'
    'generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}\nmetric_list: [{metric: exact_match}]\n'
    "filter_list:\n  - name: first\n    filter: [{function: regex, regex_pattern: '(\\S+)'}, {function: take_first}]\n",
    "perplexity": 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: "{{context}} {{word}}"\n'
    "metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]\n",
}


def write_tasks(folder: Path) -> None:
    """Pieces of the page that the demo checkpoint knows: which of four goes on as it does, its next word, and how well
    all is foreseen."""
    draw = random.Random(0)
    words = PAGE.read_text(encoding="utf-8").split()
    lines = [words[start : start + WORDS] for start in range(0, len(words) - WORDS, WORDS)]
    rows = []
    for words in lines[:ROWS]:
        others = draw.sample([other for other in lines if other is not words], 3)
        endings = [" ".join(each[len(each) // 2 :][:5]) for each in (words, *others)]
        choices = draw.sample(endings, 4)
        context, word = " ".join(words[: len(words) // 2]), words[len(words) // 2]
        rows.append({"context": context, "word": word, "choices": choices, "gold": choices.index(endings[0])})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for name, text in TASKS.items():
        head = f"task: porter_{name}\n{DATA.format(file=folder / 'rows.jsonl')}"
        (folder / f"{name}.yaml").write_text(head + text, encoding="utf-8")


def scores(checkpoint: str, tasks: Path) -> tuple[str, dict, dict]:
    """The class that lm-eval loaded, its scores by task, and every answer and log-likelihood it was judged by."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=checkpoint, device="cpu", dtype="float32", batch_size=8, max_length=256)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=[f"porter_{name}" for name in TASKS],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    answers = {task: [row["resps"] for row in rows] for task, rows in found["samples"].items()}
    figures = {
        task: {name.partition(",")[0]: value for name, value in row.items() if isinstance(value, float)}
        for task, row in found["results"].items()
    }
    return f"{type(model.model).__module__}.{type(model.model).__name__}", figures, answers


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--port", default="llama2")
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    with tempfile.TemporaryDirectory() as folder:
        write_tasks(Path(folder))
        os.environ["HF_HOME"] = folder
        source = scores(arguments.checkpoint, Path(folder))
        with porter.register(arguments.port):
            port = scores(arguments.checkpoint, Path(folder))
    for name, figures, _ in (source, port):
        print(name)
        for task, row in figures.items():
            print(f"  {task}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in row.items()))
    same = source[0] != port[0] and source[1] == port[1] and source[2] == port[2]
    print("every answer and log-likelihood is the same" if same else "THEY DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
