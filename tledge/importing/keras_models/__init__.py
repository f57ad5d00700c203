"""This package reads models that Keras 3 or tf_keras saved: it checks their files, runs them and describes their layers."""
