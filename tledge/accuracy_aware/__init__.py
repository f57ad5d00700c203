"""This package keeps an export inside a budget of accuracy.

Each exported file is scored on the validation photos. Where it loses too much, more layers stay in float.
"""
