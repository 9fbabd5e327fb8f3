"""Runs llama2: one process here, or one a card under a launcher.

    python run_llama2.py --model_path CHECKPOINT --prompt "Once upon a time"
    deepspeed --num_gpus=8 run_llama2.py --model_path=CHECKPOINT
"""

import argparse
import os

import torch

from porter.runner import LlmModelRunner

PROMPTS = ["Once upon a time", "The three primary colours are"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True, help="folder of the checkpoint, as downloaded")
    parser.add_argument("--prompt", action="append", help="may be given several times: one batch")
    parser.add_argument("--execute_mode", choices=("eager", "dynamo"), default="dynamo")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--input_padding", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--input_max_len", type=int, default=1024)
    parser.add_argument("--max_new_tokens", type=int, default=1024)
    parser.add_argument("--local_rank", type=int, help="set by launchers")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.local_rank is not None:  # some launchers say it here, others in the environment
        os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))
    config = {
        "input_padding": arguments.input_padding,
        "dtype": getattr(torch, arguments.dtype),
        "input_max_len": arguments.input_max_len,
        "max_new_tokens": arguments.max_new_tokens,
    }
    runner = LlmModelRunner("llama2", arguments.model_path, **config)
    runner.execute_mode = arguments.execute_mode
    runner.set_npu_config(jit_compile=False)
    runner.execute_model(arguments.prompt or PROMPTS, **config)


if __name__ == "__main__":
    main()
