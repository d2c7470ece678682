"""Files and folders that are whole or not there at all: models, runs, pinned files of problems.

What reads and writes models here knows no model class: it returns and takes fields and tensors.
"""
