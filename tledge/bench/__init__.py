"""This package runs models on photos and returns answers, latencies or faults as values. Its callers judge them."""
