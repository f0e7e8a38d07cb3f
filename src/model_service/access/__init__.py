"""Access tokens: who holds one, what it allows, and how it is recognised and revoked."""
