"""Learning a prefix for one model: propose, measure on tasks, keep all, propose better ones."""
