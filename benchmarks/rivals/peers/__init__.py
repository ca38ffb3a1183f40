"""One file for each loader that runs in a process of its own, ours among them. Each holds a class `Peer` with the same calls:

Peer(shape, folder)    `folder` is for files of its own
order                  how it shuffles, in words
convert()              makes its files
settings()             the grid of settings that its documentation offers; the best on this machine is what it is measured with
open(**settings)       everything that is not delivering
batches(epoch)         an epoch as tuples of arrays or tensors (lists of bytes for text), in the order of the shape's fields
"""
