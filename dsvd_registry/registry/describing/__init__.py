"""The descriptions of a version: its metadata, and the pictures and texts attached to it."""
