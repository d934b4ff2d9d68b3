"""The loop: collect, organise, optimise, gate, again."""
