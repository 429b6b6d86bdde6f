"""The methods of `Registry`, by what they are about; `registry.py` joins them."""
