"""Model Service: LLM models, provider keys and the door to call them through."""

__version__ = "0.1.0"
