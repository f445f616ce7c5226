"""Several processes that train one network: `torchrun --nproc-per-node 2 -m lib train KEY`.

Each takes its share of every batch. Gradients, the statistics that batch norms keep and the loss
are averaged after every backward pass, so that all processes hold one network between steps. Weight
noise and trade-offs are those of one process; attacks start from draws of each process's own, and a
batch norm in training normalises by the share of its process, as under PyTorch's DDP. The first
process alone writes; the others take part in its trainings.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return dist.get_rank() if size() > 1 else 0


@contextmanager
def group() -> Iterator[int]:
    """Join the processes that torchrun started, if it did, and yield the number of this one."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=timedelta(days=7))
    yield rank()
    if size() > 1:
        dist.destroy_process_group()


def tell(message: Any) -> Any:
    """Return the message of the first process in all of them."""
    box = [message]
    if size() > 1:
        dist.broadcast_object_list(box, device=torch.device("cpu"))
    return box[0]


def agreed(wish: bool) -> bool:
    """Return whether one of the processes has this wish."""
    if size() == 1:
        return wish
    wishes = torch.tensor(float(wish))
    dist.all_reduce(wishes)
    return bool(wishes)


def share(values: Tensor) -> Tensor:
    """Return every n-th row of values (B, ...), of which each of n processes takes another."""
    return values if size() == 1 else values[rank() :: size()].clone()


def average(model: nn.Module, loss: Tensor) -> Tensor:
    """Return the mean of a loss over the processes, and give all of them the mean gradients.

    And the mean of the statistics that batch norms keep. A parameter without a gradient in any of
    the processes stays without.
    """
    if size() == 1:
        return loss
    parameters = [p for p in model.parameters() if p.requires_grad]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    kept = [t for n in norms for t in (n.running_mean, n.running_var) if t is not None]
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    values = [*grads, *kept, there, loss.detach()]
    flat = torch.cat([value.flatten() for value in values])
    dist.all_reduce(flat)
    means = (flat / size()).split([value.numel() for value in values])
    for index, (p, mean) in enumerate(zip(parameters, means, strict=False)):
        if p.grad is not None:
            p.grad.copy_(mean.view_as(p))
        elif means[-2][index] > 0:
            p.grad = mean.view_as(p).clone()
    for old, mean in zip(kept, means[len(parameters) :], strict=False):
        old.copy_(mean)
    return means[-1][0]
