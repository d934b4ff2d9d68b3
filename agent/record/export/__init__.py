"""What leaves the project: a run's episodes and training rows as datasets of other programs, and merged adapters."""
