"""Published results, measured again: each paper's experiment, its stored results and their provenance."""
