"""Fair comparisons of methods: plan, run, report. Imports no torch."""
