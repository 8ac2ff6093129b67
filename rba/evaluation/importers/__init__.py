"""What the generators of GenArtifactBench write, and one's own files, as cases: one file each."""
