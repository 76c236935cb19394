"""Controls, the Stage and the explorer: the only place with mutable state."""
