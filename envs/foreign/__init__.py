"""What comes from environments that others wrote: made, read and checked here, and refused by name where it is odd."""
