"""Billing: accounts, what they are charged for a month's usage, and telling other systems of it."""
