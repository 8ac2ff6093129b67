"""Correspondences between two views, as the grid that refinement records store."""
