"""Builders of shards: any list of inputs and a function that turns one into a sample."""

from rba.data.build.built import Built, Fingerprint
from rba.data.build.engine import build_shards
from rba.data.build.job import BuildJob
from rba.data.build.merge import merge_parts
from rba.data.build.report import BuildReport
from rba.data.build.sizes import (
    DroppedError,
    bound_size,
    is_picture,
    require_limits,
    sample_key,
)

__all__ = [
    "BuildJob",
    "BuildReport",
    "Built",
    "DroppedError",
    "Fingerprint",
    "bound_size",
    "build_shards",
    "is_picture",
    "merge_parts",
    "require_limits",
    "sample_key",
]
