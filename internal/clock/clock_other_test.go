//go:build !linux

package clock_test

const countsSuspension = false
