"""Attention probabilities of chosen layers, and what the paper makes of them."""
