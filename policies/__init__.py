"""Who acts: a policy turns observations into decisions, in batches."""
