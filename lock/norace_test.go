//go:build !race

package lock_test

const scale = 1
