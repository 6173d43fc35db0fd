"""Files: paths resolved by descriptor, atomic writes, locks, safe tar reading and writing."""
