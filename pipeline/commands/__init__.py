"""The commands of ``proxyano``, one file each."""
