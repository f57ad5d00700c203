"""Transfer learning: cached frozen features, a head on top, and the run folder that holds the result."""
