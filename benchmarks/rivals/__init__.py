"""One file for each loader, ours among them. Those in this folder share our process; those in `peers/` have a process and packages of their own.

Here each is a class with the same three calls.

name                    what reports call it
__init__(workload)      everything that is not loading: opening, building, finding the best number of workers
batches(indices)        one epoch over these samples, in this order, as an iterator of (features, label)
"""
