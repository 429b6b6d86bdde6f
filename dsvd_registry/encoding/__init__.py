"""From a fine-tune and its base to a container: what was asked, how tensors are matched and packed."""
