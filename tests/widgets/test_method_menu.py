"""The menu of methods: narrowing it never changes the method in use."""

import pytest

from compress_explorer.methods.catalogue import METHODS
from compress_explorer.widgets.method_menu import ALL_FAMILIES, MethodMenu


@pytest.fixture
def menu():
    picked: list[str] = []
    made = MethodMenu(METHODS, picked.append)
    made.picked = picked
    return made


def offered(menu: MethodMenu) -> list[str]:
    return [name for _, name in menu.method.options]


def test_offers_every_method_in_order(menu):
    assert offered(menu) == [method.name for method in METHODS]
    assert menu.picked == []


@pytest.mark.parametrize("family", sorted({method.family for method in METHODS}))
def test_a_family_narrows_the_menu_and_keeps_the_method_in_use(menu, family):
    menu.show("integer")
    menu.family.value = family
    wanted = [method.name for method in METHODS if method.family == family or method.name == "integer"]
    assert offered(menu) == wanted
    assert menu.method.value == "integer"
    menu.family.value = ALL_FAMILIES
    assert offered(menu) == [method.name for method in METHODS]
    assert menu.picked == []


def test_search_finds_words_of_name_idea_and_author_in_any_order(menu):
    menu.show("random")
    menu.search.value = "Rastegari"
    assert offered(menu) == ["random", "binary"]
    menu.search.value = "threshold layers magnitude"
    assert "magnitude-global" in offered(menu)
    menu.search.value = "no such word"
    assert offered(menu) == ["random"]
    assert menu.method.value == "random"
    assert menu.picked == []


def test_a_pick_is_reported_once_and_a_method_set_by_the_state_is_not(menu):
    menu.show("magnitude")
    menu.method.value = "binary"
    assert menu.picked == ["binary"]
    menu.search.value = "nothing"
    menu.show("integer")
    assert menu.picked == ["binary"]
    assert menu.method.value == "integer"
