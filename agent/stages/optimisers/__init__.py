"""The trainings of a round, one file each: `optimise` in the config names them."""
