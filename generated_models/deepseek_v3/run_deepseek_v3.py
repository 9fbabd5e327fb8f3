"""Runs deepseek_v3: one process here, or one a card under a launcher.

    python run_deepseek_v3.py --model_path=CHECKPOINT --prompt "Once upon a time"
    deepspeed --num_gpus=8 run_deepseek_v3.py --model_path=CHECKPOINT
"""

import argparse
import logging
import sys
from pathlib import Path

import torch

from porter.report.diagnostic import render
from porter.runner import CannotRun, LlmModelRunner

PROMPTS = ["Once upon a time", "The three primary colours are"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True, help="folder of the checkpoint, as downloaded")
    parser.add_argument("--adapter", type=Path, help="folder of a PEFT adapter, merged into the weights while loading")
    parser.add_argument("--prompt", action="append", help="may be given several times: one batch")
    parser.add_argument("--execute_mode", choices=("eager", "dynamo"), default="dynamo")
    parser.add_argument("--backend", help="what compiles in dynamo mode; by default the first that can")
    parser.add_argument("--cache_folder", type=Path, help="where TorchAir keeps compiled graphs for the next run")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), help="by default the checkpoint's")
    parser.add_argument("--input_padding", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--input_max_len", type=int, default=1024)
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--edited", action="store_true", help="run it although its files were changed by hand")
    parser.add_argument("--trust_remote_code", action="store_true", help="run a port of code out of a folder")
    parser.add_argument("--local_rank", type=int, help="set by launchers; the environment says it too")
    return parser.parse_args()


def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # the runner logs answers and times
    arguments = parse_arguments()
    config = {
        "adapter": arguments.adapter,
        "input_padding": arguments.input_padding,
        "input_max_len": arguments.input_max_len,
        "max_new_tokens": arguments.max_new_tokens,
        "backend": arguments.backend,
        "cache_folder": arguments.cache_folder,
        "edited": arguments.edited,
        "trust_remote_code": arguments.trust_remote_code,
        "models": Path(__file__).resolve().parents[1],  # the registry that this port is in
    }
    if arguments.dtype is not None:
        config["dtype"] = getattr(torch, arguments.dtype)
    try:
        runner = LlmModelRunner("deepseek_v3", arguments.model_path, **config)
        runner.execute_mode = arguments.execute_mode
        runner.set_npu_config(jit_compile=False)
        runner.execute_model(arguments.prompt or PROMPTS)
    except CannotRun as error:
        sys.exit(render(error.diagnostic))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
