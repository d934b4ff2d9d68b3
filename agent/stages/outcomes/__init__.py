"""Trainings on measured outcomes beside DPO, for comparison: KTO, AWR, GRPO."""
