"""From one status to the next, for all rules: the transition, its decision record, the conditions."""
