"""Graphs and lists: built, kept in memory, measured and searched."""
