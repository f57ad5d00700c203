"""A backbone and its head as one Keras network."""

LINEAR = "linear"  # the head without hidden layers, as a recipe names it
