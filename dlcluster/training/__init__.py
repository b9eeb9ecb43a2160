"""Training one trial in this process: plain PyTorch, no Ray."""
