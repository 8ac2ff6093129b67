"""Alignment and refinement of images with a trained network, without Lightning."""
