"""From a container and its base to the full checkpoint, the same bytes on every machine."""
