"""MinNorm-OG and exact unlearning where people already work; one module per place, none imported until it is used.

transformers      a Trainer mixin and a callback for Hugging Face's Trainer
open_unlearning   a trainer class, its configuration and a launcher for the open-unlearning benchmark
sklearn           estimators with fit, unlearn(index) and certificates
starting_kit      unlearning(net, retain, forget, validation), the face of the 2023 NeurIPS challenge
"""
