"""The report of an evaluation: as a page, as text, and as JSON with every picture."""
