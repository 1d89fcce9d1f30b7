// Package partitions is about the holder of a lock that is cut off: how long before its
// successor's grant it is told that it holds the lock no more, and how long the successor
// waits for it.
//
// The holder is told when the context of its hold ends, or the official client's session
// is done, and the successor is granted when its Lock returns. Both run in one process and
// read one clock. A negative margin is the time for which there were two holders.
package partitions
