package clock

// At tells what a reading says later, see reading.at.
func At(readMono, readWall, counting, mono, wall Instant) (now Instant, ok bool) {
	return (&reading{readMono, readWall, counting}).at(mono, wall)
}

// ReadCounting reads the counting clock itself.
func ReadCounting() Instant { return readCounting() }
