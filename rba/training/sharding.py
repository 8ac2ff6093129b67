"""Tensors that are spread over the ranks: made, gathered whole, and cut again."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from rba.errors import InputError
from rba.models.network import PARTS, RefinementNetwork


def shard_network(network: RefinementNetwork, mesh: DeviceMesh) -> None:
    """Spread the trained parts' parameters over a mesh (FSDP2); frozen parts stay whole.

    The U-Net is gathered block by block, other parts at once.

    Raises:
        InputError: If a part is trained that only a call of its own would gather.
    """
    for name in PARTS:
        part: Any = getattr(network, name)
        trained = [p for p in part.parameters() if p.requires_grad]
        if not trained:
            continue
        if name == "unet":
            for block in (*part.down_blocks, part.mid_block, *part.up_blocks):
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    # The null token is not read through the connector's forward pass. Its view would die with what
    # was gathered for it.
    connector: Any = network.connector
    if any(map(is_sharded, connector.parameters())):
        view = connector.null_tokens
        connector.null_tokens = lambda count, length: view(count, length).clone()
        register_fsdp_forward_method(connector, "null_tokens")
    left = [n for n, p in network.named_parameters() if p.requires_grad and not is_sharded(p)]
    if left:
        raise InputError(f"trainer=fsdp shards whole parts; {left[0]} is of none: use trainer=ddp")


def reshard(network: RefinementNetwork) -> None:
    """Let go of what a forward pass gathered and `capture_attention` stopped before its end."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def is_sharded(tensor: Any) -> bool:
    """Return whether a tensor is spread over the ranks."""
    return isinstance(tensor, DTensor)


def local_part(tensor: Any) -> Any:
    """Return this rank's part of a sharded tensor, which shares its memory; all of a whole one."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_of(part: Tensor, parameter: Any) -> Tensor:
    """Take a tensor as this rank's part of one that is cut as a parameter is."""
    if not isinstance(parameter, DTensor):
        return part
    return DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, run_check=False,
        shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip


def whole(tree: Any) -> Any:
    """Gather the sharded tensors of nested containers; all ranks call this.

    Rank 0 gets them in main memory; on the others nothing stands in their place.
    """
    if isinstance(tree, DTensor):
        gathered: Tensor = tree.full_tensor().detach()  # pyright: ignore
        return gathered.cpu() if torch.distributed.get_rank() == 0 else None
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}  # pyright: ignore
    if isinstance(tree, list):
        return [whole(value) for value in tree]  # pyright: ignore
    return tree


def part_like(tensor: Tensor, parameter: Any) -> Tensor:
    """Cut a whole tensor as a parameter of its shape is cut; others stay as they are."""
    if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
        return tensor
    mesh, placements = parameter.device_mesh, parameter.placements
    tensor = tensor.to(parameter.device)
    return distribute_tensor(tensor, mesh, placements, src_data_rank=None)
