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


def test_it_says_how_many_match_and_the_method_in_use_does_not_count_unless_it_does(menu):
    count = len(METHODS)
    assert menu.found.value == f"{count} methods"
    menu.show("random")
    for words, found in (("no such word", "none of {} methods matches"), ("Rastegari", "1 of {} methods matches")):
        menu.search.value = words
        assert menu.found.value == found.format(count)
    menu.search.value = "binary"
    matching = [method for method in METHODS if method.name != "random" and method.name in offered(menu)]
    assert len(matching) > 1
    assert menu.found.value == f"{len(matching)} of {count} methods match"


def test_a_pick_is_reported_once_and_a_method_set_by_the_state_is_not(menu):
    menu.show("magnitude")
    menu.method.value = "binary"
    assert menu.picked == ["binary"]
    menu.search.value = "nothing"
    menu.show("integer")
    assert menu.picked == ["binary"]
    assert menu.method.value == "integer"
