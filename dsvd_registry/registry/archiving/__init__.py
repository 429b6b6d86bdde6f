"""Originals that are deleted once a version gives them back, and put back."""
