"""What an environment that nobody here knows shows of itself: spaces, numbers and endings in random play, and what may
be its success."""
