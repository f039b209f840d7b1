"""Evaluation: run a model on every phrase of every image of a data set, score it, and summarize the scores.

    data_source -> absent_phrases -> labeled_queries -> runner (scoring) -> records
    records -> accumulator (definitions) -> report, gallery
    fit_thresholds (calibration): choosing thresholds on annotated images

`docs/evaluation.md` defines every metric.
"""
