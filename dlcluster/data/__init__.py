"""Data: from a name, a file or a function to batches of tensors."""
