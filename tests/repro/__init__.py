"""Our results held against published ones: ``make repro``."""
