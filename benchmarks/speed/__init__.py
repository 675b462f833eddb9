"""Every row of the speed table: `make bench`, or one row with `python -m benchmarks.speed.ROW`."""
