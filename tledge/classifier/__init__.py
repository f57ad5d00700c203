"""A backbone and its head as one Keras network."""
