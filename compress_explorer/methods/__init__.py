"""One short file per compression method: a pure function on tensors with its declaration beside it."""
