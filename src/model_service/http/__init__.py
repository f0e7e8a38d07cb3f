"""What every route shares: errors on the wire, access rules, request ids, bounds, metrics."""
