"""What ranks agree on: the largest number, at once or one step later."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rba.training.agreement import LateAgreement, agree_now, largest_of_ranks

CPU = torch.device("cpu")


@pytest.fixture(params=[False, True], ids=["no group", "group of one"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    if request.param:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
        )
    yield
    if request.param:
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_a_number_is_known_one_exchange_later_and_forgotten_on_demand() -> None:
    late = LateAgreement()
    assert [late.exchange(number, CPU) for number in (0, 3, 0, 1)] == [0, 0, 3, 0]
    late.forget()
    assert [late.exchange(number, CPU) for number in (2, 0)] == [0, 2]
    assert agree_now(4, CPU) == 4
    assert largest_of_ranks(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
