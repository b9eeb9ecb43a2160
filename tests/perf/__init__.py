"""Speed beside the bare thing, in one run: ``make perf``. Ratios, never a timed test."""
