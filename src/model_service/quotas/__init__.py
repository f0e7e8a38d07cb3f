"""Quotas and limits: who may use how much in a calendar window, exact across processes."""
