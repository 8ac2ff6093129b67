"""The network: its four parts, and weights in and out."""
