"""MinNorm-OG for the open-unlearning benchmark: a trainer class, its configuration, and a launcher.

    python -m exact_unlearn.integrations.open_unlearning PATH/TO/open-unlearning --config-name=unlearn.yaml \\
        trainer=MinNormOG experiment=...

runs the benchmark's own `src/train.py` with the trainer registered and with our configuration folder on Hydra's search
path; nothing in the checkout is changed.  `trainer.register()` does the same from Python.
"""
