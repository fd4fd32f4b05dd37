"""The experiments of the paper, regenerated: `exact-unlearn experiment NAME`."""
