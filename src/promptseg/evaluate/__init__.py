"""Evaluation: every phrase of every picture of a data set is asked, judged, kept and summed up.

    sets -> questions -> runner -> records -> tally (definitions) -> report, gallery
    thresholds (calibration): where yes begins, fixed on training-side pictures

`docs/evaluation.md` defines every number.
"""
