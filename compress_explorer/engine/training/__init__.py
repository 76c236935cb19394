"""Trains networks: one loop for distillation and for what brings accuracy back after compression."""
