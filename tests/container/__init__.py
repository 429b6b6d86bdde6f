"""The package's reader and writer of `.dsvd` files, part by part."""
