"""The same results, faster or smaller: attention kernels, decoding, the optimizer, the memory plan.

Nothing in this folder changes what is computed but for rounding. It knows no model class: the
model hands it queries, keys and values, or parameters, and gets the same kind of thing back.
"""
