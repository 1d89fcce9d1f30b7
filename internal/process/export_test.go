package process

import "time"

// SetGrace lets a child have less than [Grace].
func SetGrace(d time.Duration) { grace = d }
