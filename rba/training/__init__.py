"""Training: the LightningModule, its objective, and what a run leaves behind."""
