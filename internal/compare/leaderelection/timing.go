package leaderelection

import "time"

// A fifth of what client-go recommends. Lease durations are whole seconds.
const (
	LeaseDuration = 3 * time.Second
	RenewDeadline = 2 * time.Second
	RetryPeriod   = 400 * time.Millisecond
)
