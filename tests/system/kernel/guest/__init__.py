"""What runs inside the test machine: init.sh, then the runner, which calls the scenarios."""
