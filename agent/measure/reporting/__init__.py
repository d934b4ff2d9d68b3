"""The numbers of a run's page, `handeye report`."""
