"""A small Llama with a tokenizer of its own, trained here on one of porter's pages: its answers can be read.

    python -m porter.bench.demo_checkpoint DIR

Contract: what it writes is a checkpoint like any other, sharded safetensors in the source's layout, with config,
generation config and a byte-level BPE tokenizer. The same text and arguments give the same tokenizer; weights differ by
rounding between machines. 200 steps of training, on one core.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Told = Callable[[Iterable[torch.Tensor]], Iterable[torch.Tensor]]
BEGIN, END = "<s>", "</s>"
PAGE = Path(__file__).resolve().parents[1] / "pages" / "rules.md"
VOCABULARY = 768
WINDOW = 64  # tokens of a training example
BATCH = 16


def make_demo_checkpoint(
    folder: Path, texts: Sequence[str] | None = None, *, steps: int = 200, seed: int = 0, told: Told = iter
) -> float:
    """Train on `texts`, by default the page on rules, and write the checkpoint into `folder`; returns the last loss.

    told: goes over the batches, and may tell how far it is.
    The global random state is as it was afterwards. Raises ValueError for a text shorter than one example.
    """
    texts = [PAGE.read_text(encoding="utf-8")] if texts is None else texts
    tokenizer = train_tokenizer(texts)
    tokens = torch.tensor(
        [token for text in texts for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    )
    if len(tokens) <= WINDOW:
        raise ValueError(f"the texts have {len(tokens)} tokens together, an example has {WINDOW}")
    with torch.random.fork_rng([]), _one_thread():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(demo_config(tokenizer))
        loss = _train(model, told(_batches(tokens, steps)), steps)
    model.save_pretrained(folder, max_shard_size="1MB")
    tokenizer.save_pretrained(folder)
    return loss


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text can be written in it, and comes back as it was. Texts begin with `<s>`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, pad_token=END)


def demo_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """0.4 million parameters, with grouped heads that two ranks can share."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=256,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )


def _train(model: LlamaForCausalLM, batches: Iterable[torch.Tensor], steps: int) -> float:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps, pct_start=0.1)
    loss = 0.0
    for batch in batches:
        output = model(batch, labels=batch, use_cache=False)
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss = output.loss.item()
    model.eval()
    return loss


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The tensors are small: a second core costs more than it computes, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(tokens: torch.Tensor, steps: int) -> Iterator[torch.Tensor]:
    for _ in range(steps):
        starts = torch.randint(len(tokens) - WINDOW, (BATCH,))
        yield torch.stack([tokens[start : start + WINDOW] for start in starts.tolist()])


def _with_a_bar(batches: Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    from rich.console import Console
    from rich.progress import track

    return track(list(batches), "training", console=Console(stderr=True), transient=True)


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m porter.bench.demo_checkpoint DIR", file=sys.stderr)
        return 2
    started = time.perf_counter()
    loss = make_demo_checkpoint(Path(sys.argv[1]), told=_with_a_bar if sys.stderr.isatty() else iter)
    print(f"wrote {sys.argv[1]}: loss {loss:.2f} after {time.perf_counter() - started:.0f} s of training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
