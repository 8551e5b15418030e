"""The program behind benches/run. benches/README.md lists its modules."""
