"""Figures of alignment and refinement; they take arrays, never a network."""
