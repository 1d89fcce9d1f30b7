//go:build race

package queue

// checked is set if what must never be is looked for, and panics.
const checked = true
