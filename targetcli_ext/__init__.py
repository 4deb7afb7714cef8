"""targetcli's tree for our disks: beside LIO's own nodes where LIO is, and over the engine where it is not."""
