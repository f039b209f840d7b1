"""Pseudo-masks: masks made by a promptable segmenter from boxes, boxes of referring phrases, and names.

proposals.py      the boxes to segment in an image, from human annotation and from a detector
single_object.py  the main object of an image that has only a name
image.py          one record in, one record with pseudo-masks out
run.py            all records of an index, resumable, in several processes
report.py         counts, score histograms, contact sheets
"""
