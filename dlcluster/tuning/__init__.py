"""From a job to its trials."""
