"""One process of tests/training/test_sharded.py: `train.py` with its weights sharded, on gloo processes.

    torchrun --nproc_per_node 2 tests/helpers/sharded_process.py (fsdp | zero2 | zero3) ARGUMENTS_OF_TRAIN

Accelerate shards on GPUs only. It is told here that these processes are such; FSDP and DeepSpeed themselves do work on
the CPU, and everything beneath is the real thing.
"""

import os
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from dim.cli.train import main

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "CLIPEncoderLayer",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
DEEPSPEED = {
    "DS_ACCELERATOR": "cpu",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
}

if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    os.environ.update(FSDP if kind == "fsdp" else DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": kind[-1]})
    PartialState(cpu=True)
    forced = DistributedType.MULTI_GPU if kind == "fsdp" else DistributedType.DEEPSPEED
    PartialState._shared_state["distributed_type"] = forced
    sys.exit(main(arguments))
