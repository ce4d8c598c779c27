"""The embedded backend: reads, writes, search and maintenance over one session's snapshot."""
