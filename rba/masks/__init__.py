"""Artifact masks: profiles of their statistics, and the generator that draws from a profile."""

from rba.masks.generator import generate_mask
from rba.masks.groups import MaskProfile
from rba.masks.profile import load_profile, save_profile
from rba.masks.statistics import MaskStatistics, mask_statistics

__all__ = [
    "MaskProfile",
    "MaskStatistics",
    "generate_mask",
    "load_profile",
    "mask_statistics",
    "save_profile",
]
