"""Provider keys: stored encrypted, checked with their provider, given out counted."""
