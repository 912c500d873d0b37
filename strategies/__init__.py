"""Bundled strategies: starting points with stated hypotheses, sources and limits, one per file."""
