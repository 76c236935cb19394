"""Losses of knowledge distillation: pure functions on logits and features, each with its declaration."""
