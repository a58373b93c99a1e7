"""Many jobs: which of them are still to be run, running them side by side, and what they came to.

A sweep's memory is its manifest; the truth about each job is its run folder. Neither Hydra nor networks are known here.
"""
