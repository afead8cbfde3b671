"""What evaluate.py runs."""
