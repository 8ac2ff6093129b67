"""What the demo and the reproduction of the tiny model share."""
