"""OpenAI's chat completions and embeddings, which most other vendors speak as well."""
