"""Distillation: a student learns from a teacher, beside the same student that learns from labels alone."""
