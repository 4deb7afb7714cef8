"""What other targets keep about their disks, read into operations of ours: tgt, tcmu-runner, gluster-block. No I/O."""
