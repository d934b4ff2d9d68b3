"""Low-rank adapters (LoRA) on a model whose own weights stay as they are, in a folder of their own."""
