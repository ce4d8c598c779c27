"""Approximate search over codes: made, kept in memory, measured and searched."""
