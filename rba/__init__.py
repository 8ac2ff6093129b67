"""Refine-by-Align: reference-guided refinement of artifacts in generated images."""
