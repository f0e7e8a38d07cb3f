"""OpenAI's Responses API, as a door and as an upstream."""
