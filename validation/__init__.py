"""Numerical verification of the paper: one file per result, findings with proofs, a report.

theorem_1.py ... corollary_1.py, counterexample_d41.py, appendix_c.py, appendix_e.py    the results of
docs/theory.md beyond.py                  findings of our own finding.py                 claims, measurements,
findings naive.py                   the independent side: textbook algorithms that share no code with the package
instances.py, proofs.py    random instances; certified optima compared with predictions runner.py, registry.py
resumable runs over all claims mutations.py               every formula broken on purpose: the verifications must
notice figures.py, report.py      one figure per result; HTML and Markdown pages

Run it with `exact-unlearn theorems`.  These files are carried in wheels inside the package, so they import one
another relatively and nothing imports them but the command line.
"""
