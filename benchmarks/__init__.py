"""Measurements of this project beside what people use today, each made in one run."""
