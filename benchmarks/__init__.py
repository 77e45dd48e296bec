"""Benchmarks: one question per file, each figure printed beside the target it is measured against.

`python -m benchmarks` runs all of them, `python -m benchmarks hit` one. What is compared is measured within one run, in
turn (A B, B A, …), and told as a ratio, since absolute times drift from machine to machine and from minute to minute.
"""
