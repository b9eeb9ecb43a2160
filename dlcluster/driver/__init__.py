"""Runs on the cluster: one driver process owns one claim on one run."""
