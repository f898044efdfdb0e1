//! The whole broker as tasks of one thread: a simulated disk, connections in memory, and a clock that only jumps. One seed decides
//! everything, and the same seed gives the same trace.
