"""Tools for whoever tests a setup of ours: nothing here is used while disks are served."""
