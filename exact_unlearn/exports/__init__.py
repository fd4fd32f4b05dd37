"""Problems for other worlds: standard files, objects of other libraries, proofs for other checkers.

`write_program` writes an `ExplicitProgram` as MPS, QPLIB or CBF; `scipy_arguments`, `qpsolvers_problem` and
`cvxpy_problem` hand it to a library; `write_vipr` writes the proof of a linear program in the VIPR format, which
independent (also formally verified) checkers read.  An answer z of any solver goes back with `program.theta(z)`, and
`exact_unlearn.judge` says what it is worth.
"""

from exact_unlearn.exports.libraries import cvxpy_problem, qpsolvers_problem, scipy_arguments
from exact_unlearn.exports.standard import FORMATS, write_program
from exact_unlearn.exports.vipr import write_vipr

__all__ = ["FORMATS", "cvxpy_problem", "qpsolvers_problem", "scipy_arguments", "write_program", "write_vipr"]
