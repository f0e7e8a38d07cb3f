"""How the providers are doing, shared between processes and kept."""
