"""The cells of the notebooks that are timed: what a person would write today, a bare echo, and the Explorer."""

SETUP = """
import copy, functools
import ipywidgets, numpy, torch
import plotly.graph_objects as go
from torch.nn.utils import prune
import compress_explorer as ce
model, task = ce.load("lenet-300-100")
"""

ECHO = """
# The least that anything the kernel does can take: a slider whose value comes back as text.
echo_slider = ipywidgets.IntSlider(value=50, min=0, max=99)
echo_slider.add_class("bench-echo")
echo_text = ipywidgets.HTML("<b class='bench-echo-text' data-value='50'>50</b>")
def echo(change):
    value = change["new"]
    echo_text.value = f"<b class='bench-echo-text' data-value='{value}'>{value}</b>"
echo_slider.observe(echo, "value")
ipywidgets.VBox([echo_slider, echo_text])
"""

NAIVE = """
# What one writes today: FigureWidget, deepcopy, torch.nn.utils.prune, numpy histogram, full evaluation.
samples = torch.utils.data.TensorDataset(task.test.inputs, task.test.targets)
loader = torch.utils.data.DataLoader(samples, batch_size=256)

def naive_accuracy(network):
    right = 0
    with torch.no_grad():
        for inputs, targets in loader:
            right += (network(inputs).argmax(1) == targets).sum().item()
    return right / len(task.test)

def naive_prune(sparsity):
    network = copy.deepcopy(model)
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            prune.l1_unstructured(module, "weight", amount=sparsity)
            prune.remove(module, "weight")
    return network

def weights_of(network):
    layers = [m.weight.detach().numpy().ravel() for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return numpy.concatenate(layers)

edges = numpy.linspace(-0.3, 0.3, 162)
figure = go.FigureWidget(go.Bar(x=edges[:-1], y=numpy.histogram(weights_of(model), edges)[0]))
naive_slider = ipywidgets.IntSlider(value=50, min=0, max=99)
naive_slider.add_class("bench-naive")
naive_text = ipywidgets.HTML("<b class='bench-naive-text' data-value='' data-accuracy=''></b>")

def naive_update(change):
    network = naive_prune(change["new"] / 100)
    figure.data[0].y = numpy.histogram(weights_of(network), edges)[0]
    accuracy = naive_accuracy(network)
    naive_text.value = (
        f"<b class='bench-naive-text' data-value='{change['new']}' data-accuracy='{accuracy}'>{accuracy}</b>"
    )

naive_slider.observe(naive_update, "value")
ipywidgets.VBox([naive_slider, figure, naive_text])
"""

IMPORTS = """
import asyncio, time
import ipywidgets, torch
import compress_explorer as ce
"""

LARGE = """
# A network of a hundred million weights, whose accuracy is of no interest.
torch.manual_seed(0)
wide = torch.nn.Sequential(
    torch.nn.Linear(16, 10_000), torch.nn.ReLU(), torch.nn.Linear(10_000, 10_000), torch.nn.ReLU(),
    torch.nn.Linear(10_000, 4),
)
explorer = ce.explore(wide, test=(torch.randn(32, 16), torch.arange(32) % 4))
explorer
"""

HEAVY = """
explorer = ce.explore("resnet-fashion")
explorer
"""

LAB = """
lab = ce.distill_lab("lenet-300-100")
lab
"""

LAG = """
# How much later than it asked for the kernel's message loop is called again: as long as it cannot answer.
lags = []
async def tick():
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.002)
        lags.append(time.perf_counter() - begun - 0.002)
ticking = asyncio.ensure_future(tick())
def longest_lag():
    longest = max(lags)
    lags.clear()
    return longest
"""

EXPLORER = """
explorer = ce.explore("lenet-300-100")
explorer
"""
