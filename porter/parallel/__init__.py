"""One ported model on several cards: tensor parallelism by DeepSpeed, over HCCL on NPUs and gloo on CPUs.

    ranks = launch_from_environment()                  # as `deepspeed` or `torchrun` started this process
    check_divides(config, ranks.world_size)            # before a weight is read
    model = shard(model_class.from_pretrained(path), "llama2", ranks.world_size).eval()
    leave_ranks()                                      # at the end

    deepspeed --num_gpus=8 generated_models/llama2/run_llama2.py --model_path=CHECKPOINT       # on a machine of 8 NPUs

Contract: every rank holds its heads of q, k, v and of the KV cache, its share of the MLP and of the LM head, and gets
the whole logits, the same on all ranks. Every rank loads the whole model on the host first. Importing this package
imports no DeepSpeed. Run here on CPUs over gloo; not run on an NPU.

Takes:    a model, and the ranks that a launcher started.
Gives:    the share of it that this rank holds.
Imported: by `verify` (the contract over ranks) and `runner`. It needs `runtime`.
"""

from porter.parallel.divide import NO_SPLIT_POINTS, CannotShard, check_divides, kv_heads_of_rank
from porter.parallel.inject import check_splits, shard
from porter.parallel.launch import Ranks, init_ranks, launch_from_environment, leave_ranks

__all__ = [
    "NO_SPLIT_POINTS",
    "CannotShard",
    "Ranks",
    "check_divides",
    "check_splits",
    "init_ranks",
    "kv_heads_of_rank",
    "launch_from_environment",
    "leave_ranks",
    "shard",
]
