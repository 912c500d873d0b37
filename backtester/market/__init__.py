"""Market data: what it looks like, where it is stored, where it comes from, whether it can be trusted."""
