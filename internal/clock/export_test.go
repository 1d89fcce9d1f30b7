package clock

// Reading is what the clocks said at one moment.
type Reading = reading

// ReadingAt is the first reading, taken in no time.
func ReadingAt(mono, wall, counting Instant) *Reading {
	return (*reading)(nil).next(counting, mono, mono, wall)
}

// Serves reports whether r tells the counting clock when the others say mono and wall.
func (r *Reading) Serves(mono, wall Instant) bool { return r.serves(mono, wall) }

// Next is the reading after r.
func (r *Reading) Next(counting, before, after, wall Instant) *Reading {
	return r.next(counting, before, after, wall)
}

// Lead is that of the counting clock over the monotonic one.
func (r *Reading) Lead() Instant { return r.lead }

// ReadCounting reads the counting clock itself.
func ReadCounting() Instant { return readCounting() }
