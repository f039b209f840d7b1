"""Published benchmarks, each with the numbers of the paper it comes from and the ones that are usual now.

    table (who there is) -> referring, one_shot, zero_shot (sheets and numbers of a family) -> session -> comparison
    paper_counts: CLIPSeg's own way of counting; published: its tables, and those of others

`docs/evaluation.md` defines every number.
"""
