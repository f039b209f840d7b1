"""Evaluation: every phrase of every image of a data set is asked, judged, kept and summed up.

    sets -> questions -> runner -> records -> tally (definitions) -> report, gallery
    thresholds (calibration): where yes begins, fixed on training-side images

`docs/evaluation.md` defines every number.
"""
