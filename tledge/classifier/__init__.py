"""This package joins a backbone and its head into one Keras network."""

LINEAR = "linear"  # the head without hidden layers, as a recipe names it
