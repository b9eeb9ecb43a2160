"""Answers from the store alone; no cluster is needed."""
