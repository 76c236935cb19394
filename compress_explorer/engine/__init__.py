"""Applies recipes to models, measures size and accuracy, sweeps and caches. Knows no widget and no figure."""
