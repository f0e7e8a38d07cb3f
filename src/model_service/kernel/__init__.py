"""What every slice shares: errors, secrets, identifiers. Pure: standard library only."""
