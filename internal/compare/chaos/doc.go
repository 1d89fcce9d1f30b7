// Package chaos lets locks of other libraries go through the faults of the lab in
// internal/chaos, next to those of this one. Its tests need the build tag chaos.
package chaos
