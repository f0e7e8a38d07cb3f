"""Schema migrations: expand, then contract, one replica at a time under an advisory lock."""
