"""Built-in models and tasks: bundled data, trained networks, and the scripts that made them."""

from compress_explorer.zoo.cards import Card
from compress_explorer.zoo.catalogue import card, load, load_initial, names

__all__ = ["Card", "card", "load", "load_initial", "names"]
