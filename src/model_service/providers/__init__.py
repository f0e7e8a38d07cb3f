"""How the service reaches the providers: the guarded HTTP transport, and their dialects above."""
