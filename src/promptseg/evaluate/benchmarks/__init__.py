"""Published benchmarks, with the numbers of the original papers and the common ones of today.

    benchmark_table -> referring, one_shot, zero_shot (examples and metrics of each family)
    run_benchmark -> comparison
    paper_counts: CLIPSeg's way of counting; published_results: its tables, and those of others

`docs/evaluation.md` defines every metric.
"""
