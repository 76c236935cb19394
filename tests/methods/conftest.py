"""How hypothesis runs here: on a busy machine no example is too slow."""

from hypothesis import settings

# The base is what hypothesis chose itself: in continuous integration, the same examples on every run.
settings.register_profile("unhurried", settings(), deadline=None, max_examples=60)
settings.load_profile("unhurried")
