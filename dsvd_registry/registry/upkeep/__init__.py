"""The objects of a registry: needed, whole, repaired, removed."""
