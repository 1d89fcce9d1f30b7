package servers

// PID returns the process ID of member i.
func (e *Etcd) PID(i int) int { return e.list[i].running().PID() }
