"""Gemma gateway: policy in front of a model."""

__version__ = "0.1.0"
