"""From a plan to batches: which draws make a batch, reading and mixing their pixels, augmenting them on the device.

Everything random here is keyed by (seed, epoch, draw), never by how the work is divided: any number of workers or
ranks sees the same batches, and a run that is resumed sees the ones it would have seen.
"""
