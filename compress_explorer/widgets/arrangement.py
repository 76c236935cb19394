"""What a Stage consists of: its figures, in the order in which they are drawn, and the readouts of its strip."""

from typing import Any

EXPLORER: dict[str, Any] = {
    "first": ["histogram", "tradeoff"],
    "later": ["layers", "bytes"],
    "cells": [
        {
            "name": "size",
            "label": "Size",
            "help": "Bytes of the file that would be saved; 1 KB = 1000 bytes",
            "main": "size",
            "side": [],
            "below": ["ratio"],
        },
        {
            "name": "accuracy",
            "label": "Accuracy",
            "help": "Share of right predictions with its 95 % interval, and the change against the network before "
            "compression",
            "main": "accuracy",
            "side": ["interval"],
            "below": ["difference", "verdict"],
        },
        {
            "name": "zeros",
            "label": "Zeros",
            "help": "Share of exact zeros among the treated weights",
            "main": "zeros",
            "side": [],
            "below": ["zeros_of"],
        },
        {
            "name": "sqnr",
            "label": "SQNR",
            "help": "Signal to quantization noise ratio of the treated weights: higher is closer to the original",
            "main": "sqnr",
            "side": [],
            "below": ["sqnr_of"],
        },
    ],
}
"""The Explorer's: the figures of `film.figures`, and its five readouts with the state."""

LAB: dict[str, Any] = {
    "first": ["softened"],
    "later": ["curves", "surface", "tradeoff"],
    "cells": [
        {
            "name": "size",
            "label": "Size",
            "help": "Bytes of the student's file; 1 KB = 1000 bytes",
            "main": "size",
            "side": [],
            "below": ["ratio", "shape"],
        },
        {
            "name": "accuracy",
            "label": "Accuracy",
            "help": "Share of right predictions of the distilled students on the test split: the mean of the seeds, "
            "how far they lie apart, and the change against the same students trained on hard labels",
            "main": "accuracy",
            "side": ["spread"],
            "below": ["difference", "verdict"],
        },
        {
            "name": "entropy",
            "label": "Entropy",
            "help": "Of the teacher's softened probabilities for the example shown: 0 when it is certain, most when "
            "all classes are alike",
            "main": "entropy",
            "side": ["entropy_unit"],
            "below": ["entropy_of"],
        },
        {
            "name": "dark",
            "label": "Dark knowledge",
            "help": "Share of the softened probabilities that does not lie on the likeliest class: what hard labels do "
            "not tell",
            "main": "dark",
            "side": [],
            "below": ["dark_of"],
        },
    ],
}
"""The distillation lab's: the figures of `lab_film.figures`, and its five readouts with the state."""
