"""One process of tests/training/test_step.py: takes a step in float64 and leaves its gradients."""

import sys
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from training_step import as_double, data_for, gradients, model_for

from dim.training.batches import BatchDataset
from dim.training.step import Objective, backward, reduce_gradients

dataset, dim, out, size, pictures = sys.argv[1:]
accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
with tempfile.TemporaryDirectory() as folder:
    data = data_for(dataset, dim, Path(folder), picture_dropout=1.0 if pictures == "none" else 0.4)
    if pictures == "none":
        data.entities.pictures[:] = -1
    model = model_for(data.processor)
    prepared = accelerator.prepare(Objective(model))
    sampler = BatchDataset(data, 13, seed=1, rank=accelerator.process_index, world=accelerator.num_processes)
    for _ in range(2):  # the second step waits for the first: a process left behind would be seen
        model.zero_grad()
        batch = as_double(sampler.batch(0, 0))
        loss = backward(prepared, batch, accelerator, None if size == "none" else int(size))
        if size != "none":
            reduce_gradients(model, accelerator)
    if accelerator.num_processes == 2:
        assert {len(part) for part in (batch.ids,)} <= {6, 7}
loss = accelerator.reduce(loss, "mean")
if accelerator.is_main_process:
    torch.save(gradients(model) | {"loss": loss}, out)
accelerator.wait_for_everyone()
