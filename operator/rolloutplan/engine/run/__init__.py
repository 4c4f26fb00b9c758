"""What every rule uses to go from one status to the next: the transition, its decision record, the conditions."""
