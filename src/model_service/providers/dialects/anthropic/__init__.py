"""The Messages API of Anthropic: its models, its chats, and counting their tokens."""
