"""Frozen data: parameters, methods' declarations, recipes, results. Imports neither torch nor plotly."""
