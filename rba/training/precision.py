"""All weights in bfloat16, with batches as they are."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.plugins import HalfPrecision


class WholeBfloat16(HalfPrecision):
    """Lightning's ``bf16-true`` for batches of bytes: the network casts what it is given."""

    def convert_input(self, data: Any) -> Any:
        """Return a batch as it is."""
        return data

    @contextmanager
    def forward_context(self) -> Generator[None]:
        """Leave the default dtype alone: sums and losses are float32."""
        yield
