"""What this process waits for, so that nothing that hangs holds up a run.

A read from a dead server, a driver that is stuck: such a call never returns, and nobody can end it. So whatever may
hang is done in a daemon thread, says by `begin` what it does next, and is left when it has done nothing new for too
long.
"""
