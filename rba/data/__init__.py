"""Shards in, batches out: records, manifest, order, transforms and the alternating stream."""
