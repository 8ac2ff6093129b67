"""Synthetic objects: two views with exact correspondence, and defects to repair.

Everything is a pure function of textures, generator state, size and settings.
"""
