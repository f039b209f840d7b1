"""Masks made by a promptable masker from what pictures have instead of masks: boxes, referring boxes, single names.

proposals.py      what to mask in a picture, from people's boxes and a detector's
single_object.py  the main object of a picture that only has a name
picture.py        one record in, one record of made masks out
run.py            all records of an index, resumable, in several processes
report.py         counts, score histograms, contact sheets
"""
