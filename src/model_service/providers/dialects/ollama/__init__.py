"""Ollama's own API: its models, its chats and its embeddings."""
