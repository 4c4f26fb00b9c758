"""What works offline: lint, PromQL, the timeline of a plan, the replay of a run. `cli` brings the files and answers."""
