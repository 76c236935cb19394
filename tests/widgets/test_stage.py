import gc
import json
import re
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from compress_explorer.widgets import film as films
from compress_explorer.widgets.controls import control
from compress_explorer.widgets.module import STATIC, joined, stage_module, stage_styles
from compress_explorer.widgets.plotly_source import PlotlySource
from compress_explorer.widgets.stage import Stage
from tests.figures import synthetic
from tests.widgets.fake_comm import recorded, size_of

VALUES = (0.0, 0.5, 0.9)
BEFORE = synthetic.before(synthetic.network())


@pytest.fixture(scope="module")
def sweep():
    return synthetic.sparsity_sweep(values=VALUES)


@pytest.fixture
def messages():
    with recorded() as everything:
        yield everything


def film_of(sweep, key="key"):
    return films.film(sweep, key, synthetic.SPARSITY, BEFORE)


def test_plotly_travels_once_and_apart(messages, sweep):
    first, second = Stage(), Stage()
    for stage in (first, second):
        stage.film = film_of(sweep)
        stage.figures = films.figures(sweep, synthetic.SPARSITY, BEFORE)
    assert first.plotly is second.plotly is PlotlySource.shared()
    assert first.plotly.script == get_plotlyjs().encode()
    assert sum(size_of(message) > 1_000_000 for message in messages) <= 1
    assert all(size_of(message) < 400_000 for message in messages if size_of(message) < 1_000_000)
    first.close()
    second.close()


def test_a_closed_holder_is_replaced():
    holder = PlotlySource.shared()
    holder.close()
    assert PlotlySource.shared() is not holder


def test_the_film_travels_in_buffers(messages, sweep):
    stage = Stage()
    messages.clear()
    stage.film = film_of(sweep)
    data, buffers = messages[-1]
    assert len(buffers) == len(stage.film["arrays"])
    assert ["film", "arrays", "after", "data"] in data["buffer_paths"]
    place = data["buffer_paths"].index(["film", "arrays", "after", "data"])
    rows = np.frombuffer(buffers[place], "<f4").reshape(3, -1)
    assert np.allclose(rows[2, 1:-1], sweep.frames[2].histogram.after)
    stage.close()


def test_a_patch_is_one_small_message_and_the_state_has_it_too(messages, sweep):
    unmeasured = replace(sweep, evaluations=(None,) * 3)
    stage = Stage(film=film_of(unmeasured))
    messages.clear()
    one = replace(unmeasured, evaluations=(None, sweep.evaluations[1], None))
    stage.patch(films.patch(stage.film, one, 1, BEFORE))
    assert len(messages) == 1
    data, buffers = messages[0]
    assert data["method"] == "custom"
    assert data["content"]["type"] == "patch"
    assert data["content"]["accuracy"] == sweep.evaluations[1].value
    assert len(buffers) == 1
    assert size_of(messages[0]) < 3000
    json.dumps(data["content"])
    # What a reloaded page would get.
    assert stage.get_state(["film"])["film"]["accuracies"] == [None, sweep.evaluations[1].value, None]
    assert films.numbers(stage.film)["accuracies"][1] == pytest.approx(100 * sweep.evaluations[1].value)
    stage.close()


def test_a_late_patch_of_an_older_film_is_not_sent(messages, sweep):
    stage = Stage(film=film_of(sweep, "old"))
    late = films.patch(stage.film, replace(sweep, evaluations=(None,) * 3), 0, BEFORE)
    stage.film = film_of(sweep, "new")
    messages.clear()
    stage.patch(late)
    assert messages == []
    assert stage.film["accuracies"][0] == sweep.evaluations[0].value
    stage.close()


def test_a_page_that_has_missed_something_gets_all_of_it_and_another_nothing(messages, sweep):
    unmeasured = replace(sweep, evaluations=(None,) * 3)
    stage = Stage(film=film_of(unmeasured), status={"request": 1, "state": "exact", "position": 1})
    patch = films.patch(stage.film, replace(sweep, evaluations=(None, sweep.evaluations[1], None)), 1, BEFORE)
    stage.patch(patch)
    now = {"type": "opened", "key": "key", "patches": 1, "status": stage.status}
    for name, missed in {"patches": 0, "key": "older", "status": {}, "nothing": None}.items():
        messages.clear()
        stage._handle_custom_msg({**now, name: missed}, [])
        sent = [set(data["state"]) for data, _ in messages]
        assert sent == ([] if name == "nothing" else [{"controls", "figures", "film", "status"}]), name
    stage.close()


def test_controls_are_sent_as_references(messages):
    slider = control(synthetic.SPARSITY, 0.5)
    stage = Stage(controls={"sparsity": slider})
    state = stage.get_state(["controls", "plotly"])
    assert state["controls"] == {"sparsity": f"IPY_MODEL_{slider.model_id}"}
    assert state["plotly"] == f"IPY_MODEL_{stage.plotly.model_id}"
    assert messages
    stage.close()
    slider.close()


def test_clicks_arrive():
    stage = Stage()
    heard: list[dict[str, Any]] = []
    stage.on_click(heard.append)
    click = {"type": "click", "figure": "tradeoff", "trace": 1, "point": 7}
    stage._handle_custom_msg(click, [])
    stage._handle_custom_msg({"type": "something else"}, [])
    assert heard == [click]
    stage.close()


def test_an_unknown_theme_is_refused():
    with pytest.raises(Exception, match="theme"):
        Stage(theme="sepia")


def test_a_closed_stage_is_freed():
    stage = Stage()
    gone = weakref.ref(stage)
    stage.layout.close()
    stage.close()
    del stage
    gc.collect()
    assert gone() is None


def test_the_module_is_one_text_that_needs_no_network():
    module = stage_module()
    assert not re.search(r"^import ", module, re.MULTILINE)
    assert re.findall(r"^export .*", module, re.MULTILINE) == [
        "export { loadPlotly, mount };",
        "export default { initialize, render };",
    ]
    assert "http://" not in module + stage_styles()
    assert "https://" not in module + stage_styles()
    assert "innerHTML" not in module


def test_no_name_is_declared_twice_in_the_joined_module():
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", stage_module(), re.MULTILINE)
    assert len(names) > 20
    assert sorted(names) == sorted(set(names))


def test_every_script_is_part_of_the_module():
    for path in STATIC.glob("*.js"):
        assert joined(path.name).splitlines()[-1] in stage_module()


def test_a_module_follows_those_that_it_imports():
    module = stage_module()
    assert (
        module.index("function applyBindings") < module.index("function createPanel") < module.index("function mount")
    )
