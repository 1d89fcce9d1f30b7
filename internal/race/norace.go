//go:build !race

package race

// Enabled says that the race detector is on.
const Enabled = false

// Slowdown is how many times as long servers in the same process may take.
const Slowdown = 1
