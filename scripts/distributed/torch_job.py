"""A job's code: gloo all-reduce, and a few steps of DistributedDataParallel whose parameters must stay the same."""

import os

import torch
from torch import distributed, nn

distributed.init_process_group("gloo")
rank, world = distributed.get_rank(), distributed.get_world_size()

numbers = torch.full((4,), float(rank + 1))
distributed.all_reduce(numbers)
assert numbers.tolist() == [world * (world + 1) / 2] * 4, numbers

torch.manual_seed(rank)  # each rank has other data, and begins with other weights
model = nn.parallel.DistributedDataParallel(nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
weights = torch.arange(8.0) / 8
for _ in range(200):
    rows = torch.randn(32, 8)
    loss = nn.functional.mse_loss(model(rows).squeeze(1), rows @ weights)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
own = torch.cat([one.detach().flatten() for one in model.parameters()])
gathered = [torch.empty_like(own) for _ in range(world)]
distributed.all_gather(gathered, own)
assert all(torch.equal(one, own) for one in gathered), "the ranks' weights differ"
assert loss.item() < 1e-3, loss
print(
    f"rank {rank} of {world}, local {os.environ['LOCAL_RANK']}, node {os.environ['NODE_RANK']}: loss {loss.item():.1e}"
)
distributed.destroy_process_group()
