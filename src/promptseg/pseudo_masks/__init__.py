"""Masks made by a promptable masker from what images have instead of masks: boxes, referring boxes, single names.

proposals.py      what to mask in an image, from people's boxes and a detector's
single_object.py  the main object of an image that only has a name
image.py        one record in, one record of made masks out
run.py            all records of an index, resumable, in several processes
report.py         counts, score histograms, contact sheets
"""
