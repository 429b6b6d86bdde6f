"""The format's text, its golden files and its independent decoder, held against the package."""
