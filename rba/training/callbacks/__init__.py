"""What happens around training steps; one file each."""
