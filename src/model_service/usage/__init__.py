"""Metering: what every call used and cost, kept once and exactly, and told by many dimensions."""
