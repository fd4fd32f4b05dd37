"""Side by side with peers: every side in a process of its own, interleaved, medians, ratios, peak memory, and
one read of J.

harness.py    starts the processes, collects, makes tables and figures
worker.py     what runs in one process
bench_*.py    one table each: cases, sides, and which side is ours

Run it with `exact-unlearn bench`.  Ratios travel between machines, seconds do not; a busy machine shows in the
spread.
"""
