package redlock

// StopTimer keeps the timer that ends h at its deadline from firing, as in a process that is
// paused: everything else sees the deadline before it does.
func StopTimer(h *Hold) { h.timer.Stop() }
