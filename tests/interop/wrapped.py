"""A network of a job's model.py inside PyTorch's wrappers: two processes of torchrun train it for
three steps; the first prints JSON, the losses over both processes for each wrapper.

    torchrun --nproc_per_node 2 wrapped.py JOB
"""

import copy
import json
import pathlib
import sys

import safetensors.torch
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

JOB = pathlib.Path(sys.argv[1])
SIZE, STEPS = 4, 3      # a process's part of the batch


def fsdp2(net):
    fully_shard(net, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return net


def compiled(net):
    """Without a C++ compiler; fullgraph: one graph, or an error."""
    return torch.compile(net, backend="aot_eager", fullgraph=True)


WRAPPERS = {
    "none": lambda net: net,
    "DistributedDataParallel": torch.nn.parallel.DistributedDataParallel,
    "FullyShardedDataParallel": lambda net: FullyShardedDataParallel(
        net, device_id=torch.device("cpu")),
    "fully_shard": fsdp2,
    "torch.compile": compiled,
}


def network():
    sys.path.insert(0, str(JOB))
    import model
    tensors = {name: tensor for file in ("weights", "constants")
               for name, tensor in safetensors.torch.load_file(JOB / f"{file}.safetensors").items()}
    net = model.Net0().eval()   # batch norm would take its statistics of each half
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            tensor.copy_(tensors[name])
    return net


def main():
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    torch.set_num_threads(1)
    shape = json.loads((JOB / "job.json").read_text())["input"]["dims"]
    x, y = torch.rand(2 * SIZE, *shape), torch.randint(0, 10, (2 * SIZE,))
    begin, losses, net = dist.get_rank() * SIZE, {}, network()
    for name, wrap in WRAPPERS.items():
        alone = name in ("none", "torch.compile")
        part = slice(None) if alone else slice(begin, begin + SIZE)
        wrapped = wrap(copy.deepcopy(net))
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.2)
        found = []
        for _ in range(STEPS):
            loss = F.cross_entropy(wrapped(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = loss.detach().clone()
            dist.all_reduce(total)
            found.append(total.item() / dist.get_world_size())
        losses[name] = found
    if dist.get_rank() == 0:
        print(json.dumps(losses))
    dist.destroy_process_group()


main()
