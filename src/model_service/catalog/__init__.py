"""The model registry: which models there are, what they can do and what they cost."""
