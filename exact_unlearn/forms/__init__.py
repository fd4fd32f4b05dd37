"""The objective as data: a closed set of terms, and forms, which are sums of them.

A regularizer is a recipe that returns its form; everything else (values, programs, proofs, files) is derived from it.

    square.py     1/2 sum w_i x_i^2                   largest.py   max w_i |x_i|
    kink.py       sum w_i |x_i|                       norms.py     sum_g w_g |x_g|_2
    huber.py      sum w_i h_delta(x_i)                spectral.py  the nuclear norm of a matrix in x
    regions.py    |x|_2 or |x_i| <= radius            count.py     number of non-zero groups
    power.py      L/2 sum |x_i|^(2/L)
    maps.py       x = M theta                         form.py      parts, forms and their summands
    epigraph.py   what a solver sees of each term     separable.py sums of functions of one coordinate
"""

from exact_unlearn.forms.count import Count
from exact_unlearn.forms.form import Form, Part, Space, Summand, part_from_spec
from exact_unlearn.forms.huber import Huber
from exact_unlearn.forms.kink import Kink
from exact_unlearn.forms.largest import Max
from exact_unlearn.forms.maps import Rows
from exact_unlearn.forms.norms import Norms
from exact_unlearn.forms.power import Power
from exact_unlearn.forms.regions import Ball, Box
from exact_unlearn.forms.spectral import Spectral
from exact_unlearn.forms.square import Square
from exact_unlearn.forms.term import Term

__all__ = [
    "Ball",
    "Box",
    "Count",
    "Form",
    "Huber",
    "Kink",
    "Max",
    "Norms",
    "Part",
    "Power",
    "Rows",
    "Space",
    "Spectral",
    "Square",
    "Summand",
    "Term",
    "part_from_spec",
]
