//go:build !race

package vtime_test

const raceEnabled = false
