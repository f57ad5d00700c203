"""Files that other tools made are judged beside a run's own artifacts; here it is found how such a file is used."""
