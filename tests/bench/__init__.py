"""What the code costs, as ratios that should hold on any machine: ``python -m tests.bench``."""
