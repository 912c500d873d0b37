"""The page of a run: figures, tables, templates, one HTML file."""
